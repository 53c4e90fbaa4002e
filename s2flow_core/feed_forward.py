"""A feed-forward layer over a few tokens at a time: its hidden layer is the largest tensor of many models.

It treats every token by itself, so its pieces give what the whole gives, up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MOST_CHUNKS = 64
# Of the free memory: attention and the rest of a block need some of it too.
HIDDEN_SHARE = 0.25
# The hidden layer before and after its activation; gated ones have both halves in the first.
COPIES = 2


@dataclass(frozen=True)
class CutForward:
    """whole: a layer's own forward, from (..., tokens, channels) to the same shape. chunks: at least 1."""

    whole: Callable[[Tensor], Tensor]
    chunks: int

    def __call__(self, x: Tensor) -> Tensor:
        """(..., tokens, channels) -> the same shape."""
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        start = 0
        for piece in x.chunk(self.chunks, dim=-2):
            end = start + piece.shape[-2]
            out[..., start:end, :] = self.whole(piece)
            start = end
        return out


def hidden_width(layer: Any) -> int:
    """The widest output inside a feed-forward layer."""
    return max(getattr(part, "out_features", 0) for part in layer.modules())


def hidden_bytes(layer: Any, tokens: int, element_size: int) -> int:
    """What a layer's hidden tensors take while it runs whole. tokens: of all videos of a pass."""
    return COPIES * element_size * tokens * hidden_width(layer)


def chunks_for(hidden: int, free: float) -> int:
    """How many pieces keep the hidden tensors within their share of the free bytes."""
    return min(MOST_CHUNKS, max(1, math.ceil(hidden / (HIDDEN_SHARE * max(free, 1.0)))))
