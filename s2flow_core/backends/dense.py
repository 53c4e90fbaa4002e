"""Attention without windows: every query sees every key.

This is what the artist gets where windows cannot win: it costs what it always cost, and it is never worse.
The windows of the call are ignored on purpose, and so is the tail, because nothing is skipped.
"""

from __future__ import annotations

from torch import Tensor

from .call import AttentionCall, attend


def run(call: AttentionCall) -> Tensor:
    """(B, heads, tokens, dim) of torch's scaled_dot_product_attention."""
    if call.stats is not None:
        batch, heads = call.q.shape[:2]
        call.stats.seen += batch * heads * call.grid.tokens**2
        call.stats.possible += batch * heads * call.grid.tokens**2
    bias = None if call.key_bias is None else call.key_bias[:, None]  # (B, 1, tokens)
    return attend(call.q, call.k, call.v, bias, call.scale)
