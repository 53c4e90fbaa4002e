"""Attention without windows: every query sees every key.

Chosen by hand, it tells what windows change. The windows of the call are ignored on purpose, and so is the
tail, because nothing is skipped. Where windows cannot win and the caller has an attention of its own, that
one computes the call instead (`InstalledAttention`).
"""

from __future__ import annotations

from torch import Tensor

from ..call import AttentionCall, attend, head_runs


def run(call: AttentionCall) -> Tensor:
    """(B, heads, tokens, dim) of torch's scaled_dot_product_attention."""
    if call.stats is not None:
        call.stats.add_dense(call.q.shape[0], len(call.heads), call.grid.tokens)
    bias = None if call.key_bias is None else call.key_bias[:, None]  # (B, 1, tokens)
    if call.some_heads is None:
        return attend(call.q, call.k, call.v, bias, call.scale)
    out = call.output()
    for heads in head_runs(call.heads):
        out[:, heads] = attend(call.q[:, heads], call.k[:, heads], call.v[:, heads], bias, call.scale)
    return out
