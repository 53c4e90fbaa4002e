"""Attention masks as models pass them, reduced to what windows can obey: one bias per key."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import WindowsNotApplicable


def key_bias(mask: Tensor | None, batch: int, tokens: int) -> Tensor | None:
    """(batch, tokens) float32 added to every query's logits, or None if the mask hides and weighs nothing.

    mask: bool (True keeps) or additive, broadcastable as (B, heads, queries, keys), (B, queries, keys), (B,
    keys) or (keys,), as ComfyUI hands it to attention. Raises WindowsNotApplicable for a mask that differs
    between queries or heads.
    """
    if mask is None:
        return None
    keys = _without_query_axis(mask, batch, tokens)
    if keys.shape[0] not in (1, batch) or keys.shape[1] not in (1, tokens):
        raise WindowsNotApplicable(
            f"the model's attention mask has shape {tuple(mask.shape)}, which does not fit {tokens} tokens"
        )
    if keys.dtype == torch.bool:
        bias = torch.zeros(keys.shape, device=keys.device).masked_fill(~keys, float("-inf"))
    else:
        bias = keys.float()
    return bias.expand(batch, tokens) if bias.any() else None


def _without_query_axis(mask: Tensor, batch: int, tokens: int) -> Tensor:
    """(B or 1, keys); axes between batch and keys must not vary."""
    if mask.ndim == 1:
        return mask[None]
    if mask.ndim == 2 and mask.shape[0] not in (1, batch) and mask.shape[0] == tokens:
        mask = mask[None]  # (1, queries, keys)
    for axis in range(1, mask.ndim - 1):
        # An expanded mask (stride 0) only looks as if it varied.
        if mask.shape[axis] > 1 and mask.stride(axis) != 0:
            raise WindowsNotApplicable("the model's attention mask differs between queries or heads")
    for _ in range(mask.ndim - 2):
        mask = mask.select(1, 0)
    return mask
