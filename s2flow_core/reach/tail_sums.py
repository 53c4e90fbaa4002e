"""What sampled queries would take from every key tile if it entered as its mean, as a skipped one does."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..attention.call import AttentionCall
from ..attention.sequence import VideoSequence
from ..attention.tile_means import torch_tile_means
from .tile_sums import TileSums


@dataclass(frozen=True)
class MeanKeys:
    """One key for every tile of a video, as the tail of the windowed attention has it; float32.

    k: (heads, tiles, dim). values: (heads, tiles, channels). log_weight: (tiles,), added to the logits.
    """

    k: Tensor
    values: Tensor
    log_weight: Tensor

    def of_heads(self, heads: slice) -> MeanKeys:
        """Some of the heads."""
        return replace(self, k=self.k[heads], values=self.values[heads])

    def sums(self, queries: Tensor, factor: float) -> TileSums:
        """`TileSums` of one key per tile. queries: (heads, rows, dim); factor: on q·k."""
        logits = self.k @ (queries.float() * factor).transpose(1, 2)  # (heads, tiles, rows)
        lse = (logits + self.log_weight[:, None]).transpose(1, 2)  # (heads, rows, tiles)
        return TileSums(lse, self.values[:, None].expand(-1, lse.shape[1], -1, -1))


def mean_keys(k: Tensor, values: Tensor, sequence: VideoSequence, bias: Tensor | None) -> MeanKeys:
    """The means of one video's keys and values in every tile.

    k: (heads, tokens, dim) and values: (heads, tokens, channels), text included; bias: (tokens,) added to the
    logits, or None. Hidden tokens do not count, weighted ones by their weight.
    """
    grid = sequence.grid
    call = AttentionCall(
        q=k[None],
        k=k[None],
        v=values[None],
        grid=grid,
        extents=(),
        prefix=sequence.prefix,
        suffix=sequence.suffix,
        key_bias=None if bias is None else bias[None],
        scale=sequence.factor(k.shape[-1]),
        tail=True,
    )
    keys, means = (
        x.new_empty(1, len(k), grid.tile_count, x.shape[-1], dtype=torch.float32) for x in (k, values)
    )
    log_weight = torch_tile_means(call, keys, means)
    return MeanKeys(keys[0], means[0], log_weight[0])
