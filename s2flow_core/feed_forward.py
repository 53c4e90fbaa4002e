"""A feed-forward layer over a few tokens at a time: its hidden layer is the largest tensor of many models.

It treats every token by itself, so its pieces give what the whole gives, up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

MOST_CHUNKS = 64
# Of a piece. Weights in main memory come anew for each, which at 25 GB/s takes as long as 4,000 tokens at 100
# TFLOP/s.
LEAST_TOKENS = 4096
# Of the free memory: attention and the rest of a block need some of it too.
HIDDEN_SHARE = 0.25
# The hidden layer before and after its activation; gated ones have both halves in the first.
COPIES = 2


Forward = Callable[[Tensor], Tensor]
"""A layer's forward, from (..., tokens, channels) to the same shape."""

_CUT = "s2flow_cut"


def cut_forward(whole: Forward, chunks: int) -> Forward:
    """The same in so many pieces; what is cut already is cut into the larger number of both.

    A function, because compilers tell these apart by what they do, and objects by which one they are.
    """
    whole, cut_before = getattr(whole, _CUT, (whole, 1))
    chunks = max(chunks, cut_before)

    def in_pieces(x: Tensor) -> Tensor:
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        start = 0
        for piece in x.chunk(chunks, dim=-2):
            end = start + piece.shape[-2]
            out[..., start:end, :] = whole(piece)
            start = end
        return out

    setattr(in_pieces, _CUT, (whole, chunks))
    return in_pieces


def hidden_width(layer: Any) -> int:
    """The widest output inside a feed-forward layer."""
    return max(getattr(part, "out_features", 0) for part in layer.modules())


def hidden_bytes(layer: Any, tokens: int, element_size: int) -> int:
    """What a layer's hidden tensors take while it runs whole. tokens: of all videos of a pass."""
    return COPIES * element_size * tokens * hidden_width(layer)


def chunks_for(hidden: int, free: float, tokens: int) -> int:
    """How many pieces keep the hidden tensors within their share of the free bytes, none of them so small
    that weights take longer to come than to be used."""
    wanted = math.ceil(hidden / (HIDDEN_SHARE * max(free, 1.0)))
    return max(1, min(wanted, MOST_CHUNKS, tokens // LEAST_TOKENS))
