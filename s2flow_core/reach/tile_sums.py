"""What sampled queries take from every key tile, by its definition in torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..windows.grid import TokenGrid


@dataclass(frozen=True)
class QueryRows:
    """Some query rows and the video keys they look at, of a few heads of one video.

    q: (heads, rows, dim). k: (heads, tokens, dim). values: (heads, tokens, channels), in any precision; no
    channels if only the mass matters. bias: (tokens,) added to the logits, or None. scale: factor on q.k.
    """

    q: Tensor
    k: Tensor
    values: Tensor
    bias: Tensor | None
    scale: float

    def head(self, index: int) -> QueryRows:
        """One head of them."""
        one = slice(index, index + 1)
        return replace(self, q=self.q[one], k=self.k[one], values=self.values[one])

    def among(self, keys: slice) -> QueryRows:
        """The same rows, looking at some of the keys only."""
        bias = None if self.bias is None else self.bias[keys]
        return replace(self, k=self.k[:, keys], values=self.values[:, keys], bias=bias)


@dataclass(frozen=True)
class TileSums:
    """A softmax that is not yet divided by its sum, tile by tile.

    lse: (heads, rows, tiles) float32, log of the sum of exp(logit) over the tile's tokens; -inf if all are
    hidden. means: (heads, rows, tiles, channels) float32, the tile's values weighed by exp(logit), with
    weights that sum to 1.
    """

    lse: Tensor
    means: Tensor

    def of_rows(self, rows: slice) -> TileSums:
        """The same of some of the rows."""
        return TileSums(self.lse[:, rows], self.means[:, rows])

    @property
    def mass(self) -> Tensor:
        """(heads, rows, tiles): the softmax of each row over the video's tokens, summed within tiles."""
        return self.lse.softmax(dim=-1)


def torch_tile_sums(rows: QueryRows, grid: TokenGrid) -> TileSums:
    """`TileSums` by their definition, for `rows` that look at the tokens of `grid` alone.

    Holds heads x rows x tokens float32 logits.
    """
    # Keys in tile order, because there are fewer of their numbers than logits; rows come last, so that sums
    # over the few slots of a tile run over whole rows.
    k, values = (grid.to_tiles(x[None].float())[0] for x in (rows.k, rows.values))
    logits = k @ (rows.q.float() * rows.scale).transpose(1, 2)  # (heads, tiles*slots, rows)
    if rows.bias is not None:
        logits += grid.to_tiles(rows.bias[None, None, :, None])[0, 0]
    if not grid.divides:
        logits.masked_fill_(~grid.slot_valid(logits.device).flatten()[:, None], float("-inf"))
    largest = logits.amax(dim=1, keepdim=True)  # (heads, 1, rows)
    # A row that only meets hidden keys has the maximum -inf, and -inf minus -inf is no number.
    largest.masked_fill_(largest == float("-inf"), 0.0)
    weights = logits.sub_(largest).exp_()
    size = (grid.tile_count, grid.tile_tokens)
    counted = F.pad(values, (0, 1), value=1.0)  # the last channel sums the weights themselves
    by_tile = (torch.unflatten(x, 1, size).flatten(0, 1) for x in (counted, weights))
    channels, weights = by_tile  # (heads*tiles, slots, channels + 1), (heads*tiles, slots, rows)
    sums = torch.unflatten(channels.transpose(1, 2) @ weights, 0, (-1, size[0]))
    total = sums[:, :, -1]  # (heads, tiles, rows)
    means = sums[:, :, :-1] / total.clamp_min(torch.finfo(total.dtype).tiny)[:, :, None]
    return TileSums((total.log() + largest).transpose(1, 2), means.permute(0, 3, 1, 2))
