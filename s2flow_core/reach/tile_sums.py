"""What sampled queries take from every key tile, by its definition in torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
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

    @property
    def mass(self) -> Tensor:
        """(heads, rows, tiles): the softmax of each row over the video's tokens, summed within tiles."""
        return self.lse.softmax(dim=-1)


def torch_tile_sums(rows: QueryRows, grid: TokenGrid) -> TileSums:
    """`TileSums` by their definition, for `rows` that look at the tokens of `grid` alone.

    Holds heads x rows x tokens float32 logits.
    """
    # Keys in tile order, because there are fewer of their numbers than logits.
    k, values = (grid.to_tiles(x[None].float())[0] for x in (rows.k, rows.values))
    logits = (rows.q.float() * rows.scale) @ k.transpose(1, 2)  # (heads, rows, tiles*slots)
    if rows.bias is not None:
        logits += grid.to_tiles(rows.bias[None, None, :, None])[0, 0, :, 0]
    size = (grid.tile_count, grid.tile_tokens)
    logits = torch.unflatten(logits, 2, size)  # (heads, rows, tiles, slots)
    if not grid.divides:
        logits.masked_fill_(~grid.slot_valid(logits.device), float("-inf"))
    largest = logits.amax(dim=-1, keepdim=True)
    # A row that only meets hidden keys has the maximum -inf, and -inf minus -inf is no number.
    largest.masked_fill_(largest == float("-inf"), 0.0)
    weights = logits.sub_(largest).exp_()
    total = weights.sum(dim=-1)  # (heads, rows, tiles)
    lse = total.log() + largest[..., 0]
    values = torch.unflatten(values, 1, size)  # (heads, tiles, slots, channels)
    sums = torch.einsum("mrns,mnsd->mrnd", weights, values)
    return TileSums(lse, sums.div_(total.clamp_min_(torch.finfo(total.dtype).tiny)[..., None]))
