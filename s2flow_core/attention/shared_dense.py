"""Attention without windows, by what the caller has installed, with its heads shared among devices."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .call import AttentionCall, InstalledAttention, head_runs
from .sequence import VideoSequence
from .sharing.head_sharing import HeadSharing
from .trust import first_line, is_out_of_memory

_ALIKE = 1.0
"""Without windows every head takes as long as any other."""


def shared_dense_attention(
    qkv: tuple[Tensor, Tensor, Tensor],
    sequence: VideoSequence,
    installed: InstalledAttention,
    sharing: HeadSharing,
) -> Tensor | None:
    """(B, heads, tokens, dim), or None where sharing is no faster or not possible: the caller's way stays.

    qkv: (B, heads, tokens, dim) each, the tokens of `sequence`. Raises WindowsNotApplicable for a mask that
    differs between queries or heads.
    """
    q, k, v = qkv
    sequence.check(q, k, v)
    call = AttentionCall(
        q=q,
        k=k,
        v=v,
        grid=sequence.grid,
        extents=(sequence.grid.tiles,) * q.shape[1],
        prefix=sequence.prefix,
        suffix=sequence.suffix,
        key_bias=sequence.bias(q.shape[0]),
        scale=sequence.factor(q.shape[3]),
        tail=False,
        installed=installed,
        masks=sequence.masks,
    )
    kind = installed.name
    if not sharing.may_share(call, kind):
        return None

    def compute(part: AttentionCall, _: Sequence[int]) -> Tensor:
        return _by_heads(installed, part)

    try:
        return sharing.attend(call, (_ALIKE,) * q.shape[1], compute, kind)
    except sharing.cancels:
        raise
    except Exception as error:  # the installed attention may take whole layers only
        reason = (
            "too little memory"
            if is_out_of_memory(error)
            else f"{kind} fails on some of its heads: {first_line(error)}"
        )
        sharing.give_up(call, kind, reason)
        return None


def _by_heads(installed: InstalledAttention, part: AttentionCall) -> Tensor:
    """(B, heads, tokens, dim) of the heads that a part asks for."""
    if part.some_heads is None:
        return installed.run(part)
    out = part.output()
    for heads in head_runs(part.heads):
        q, k, v = (x[:, heads] for x in (part.q, part.k, part.v))
        out[:, heads] = installed.attend(q, k, v, part.key_bias)
    return out
