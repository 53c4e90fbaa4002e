"""Windowed attention from slices, as `torch_boxes`, each computed by the attention that is installed.

So windows gain from SageAttention, FlashAttention, xformers or another pack's kernel where there is one and
Triton's is not. None of the functions that ComfyUI calls returns the logarithm of its sum, by which the parts
of a softmax could be joined; so where keys must be weighted (the tail, a mask) this backend cannot help.
"""

from __future__ import annotations

from torch import Tensor

from ..call import AttentionCall
from . import torch_boxes

_TORCHS_OWN = ("attention_pytorch", "scaled_dot_product_attention")


def refuses(call: AttentionCall) -> str | None:
    """Why there is nothing to gain, as a sentence; None if there may be."""
    if call.installed is None:
        return "the caller names no attention that is installed."
    if call.installed.name.endswith(_TORCHS_OWN):
        return "the attention that is installed is torch's own, which torch_boxes calls too."
    return None


def run(call: AttentionCall) -> Tensor:
    """(B, heads, tokens, dim) of windowed attention, as exact as the installed attention is."""
    installed = call.installed
    if installed is None:
        raise ValueError("There is no installed attention to compute the boxes with.")

    def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
        """q: (B*heads, boxes, queries, dim); k, v: (B*heads, boxes, keys, dim)."""
        return installed.attend(q, k, v, bias)

    return torch_boxes.run(call, attend)
