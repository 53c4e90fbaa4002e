"""Attention without windows: every query sees every key.

Chosen by hand, it tells what windows change. The windows of the call are ignored on purpose, and so is the
tail, because nothing is skipped. Where windows cannot win and the caller has an attention of its own, that
one computes the call instead (`InstalledAttention`).
"""

from __future__ import annotations

from torch import Tensor

from ..call import AttentionCall, attend


def run(call: AttentionCall) -> Tensor:
    """(B, heads, tokens, dim) of torch's scaled_dot_product_attention."""
    if call.stats is not None:
        batch, heads = call.q.shape[:2]
        call.stats.add_dense(batch, heads, call.grid.tokens)
    bias = None if call.key_bias is None else call.key_bias[:, None]  # (B, 1, tokens)
    return attend(call.q, call.k, call.v, bias, call.scale)
