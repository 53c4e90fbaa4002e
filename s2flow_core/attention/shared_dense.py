"""Attention without windows, by what the caller has installed, with its heads shared among devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from .call import AttentionCall, InstalledAttention, head_runs
from .sequence import VideoSequence
from .sharing.head_sharing import HeadSharing
from .trust import first_line, is_out_of_memory

Beside = Callable[[AttentionCall, Sequence[int]], None]
"""Given a part of a call and the numbers of its heads, as `Compute`; on several threads at once, and again
for heads that a helper did not bring back."""

_ALIKE = 1.0
"""Without windows every head takes as long as any other."""


def shared_dense_attention(
    qkv: tuple[Tensor, Tensor, Tensor],
    sequence: VideoSequence,
    installed: InstalledAttention,
    sharing: HeadSharing,
    beside: Beside | None = None,
) -> Tensor | None:
    """(B, heads, tokens, dim), or None where sharing is no faster or not possible: the caller's way stays.

    qkv: (B, heads, tokens, dim) each, the tokens of `sequence`. beside: what else is done with every part,
    on its device; calls with it are tried out by themselves. Raises WindowsNotApplicable for a mask that
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
    kind = installed.name if beside is None else f"{installed.name} and more"
    if not sharing.may_share(call, kind):
        return None

    def compute(part: AttentionCall, numbers: Sequence[int]) -> Tensor:
        if beside is not None:
            beside(part, numbers)
        return _by_heads(installed, part)

    try:
        return sharing.attend(call, (_ALIKE,) * q.shape[1], compute, kind)
    except sharing.cancels:
        raise
    except Exception as error:  # the installed attention may take whole layers only
        reason = (
            "too little memory"
            if is_out_of_memory(error)
            else f"{installed.name} fails on some of its heads: {first_line(error)}"
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
