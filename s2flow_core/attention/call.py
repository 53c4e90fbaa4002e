"""What every attention backend is given, and what it reports back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ..windows.grid import TokenGrid, Triple


@dataclass
class VisitedKeys:
    """Counts what was really computed: (query, key) pairs of video tokens, over batch and heads.

    Backends add to it where they compute, so a test can hold the work done against the density promised.
    """

    seen: int = 0
    possible: int = 0

    @property
    def density(self) -> float:
        """Share of all video keys that the mean query saw, 0...1."""
        return self.seen / max(self.possible, 1)

    def add_dense(self, batch: int, heads: int, tokens: int) -> None:
        """Counts a call in which every one of the video's tokens sees all of them."""
        pairs = batch * heads * tokens**2
        self.seen += pairs
        self.possible += pairs


@dataclass(frozen=True)
class InstalledAttention:
    """The attention that computed a call before there were windows, which windows must beat.

    attend: (q, k, v, key_bias) -> (B, heads, tokens, dim), the arguments as in `AttentionCall`. name: tells
    one such attention from another, because what was measured against one says nothing about the other.
    """

    name: str
    attend: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]

    def run(self, call: AttentionCall) -> Tensor:
        """(B, heads, tokens, dim)"""
        return self.attend(call.q, call.k, call.v, call.key_bias)


@dataclass(frozen=True)
class AttentionCall:
    """One self-attention over text and video tokens, with a window for every head.

    q, k, v: (B, heads, tokens, dim), any strides, tokens = prefix + grid.tokens + suffix.
    extents: one (a, b, c) per head, in tiles of `grid`.
    key_bias: (B, tokens) float32 added to the logits of each key (-inf hides it), or None.
    scale: factor on q.k; tail: skipped tiles enter as their mean; stats: counter to add to, or None.
    installed: what computes the call where windows cannot win; None is the backend `dense`.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    grid: TokenGrid
    extents: tuple[Triple, ...]
    prefix: int
    suffix: int
    key_bias: Tensor | None
    scale: float
    tail: bool
    stats: VisitedKeys | None = None
    installed: InstalledAttention | None = None

    @property
    def video(self) -> slice:
        """The video's tokens within the sequence."""
        return slice(self.prefix, self.prefix + self.grid.tokens)

    @property
    def text(self) -> tuple[slice, ...]:
        """The runs of tokens before and after the video, where there are any."""
        end = self.prefix + self.grid.tokens
        runs = (slice(0, self.prefix), slice(end, end + self.suffix))
        return tuple(run for run in runs if run.stop > run.start)

    def heads_by_extent(self) -> dict[Triple, list[int]]:
        """Heads that share a window are computed together."""
        groups: dict[Triple, list[int]] = {}
        for head, extent in enumerate(self.extents):
            groups.setdefault(extent, []).append(head)
        return groups


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """Plain attention by torch's fastest kernel; a query that sees no key at all gets zeros, never NaN.

    q: (B, heads, queries, dim); k, v: (B, heads, keys, dim); bias: (B, 1 or heads, keys) additive, or None.
    """
    if bias is None:
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    # On the CPU the bias keeps its precision; GPU kernels want it in q's.
    mask = bias.float() if q.device.type == "cpu" else bias.to(q.dtype)
    # After the cast, because a half float overflows to -inf.
    blind = (mask == float("-inf")).all(dim=-1)  # (B, 1 or heads)
    # One row for all queries: torch aligns a GPU mask by padding it, and would write out every row of a
    # mask that is already expanded.
    mask = mask[:, :, None, :]  # (B, 1 or heads, 1, keys)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    return out.masked_fill(blind[..., None, None], 0.0)


def attend_text(call: AttentionCall, out: Tensor) -> None:
    """Fill the rows of `out` (B, heads, tokens, dim) outside the video: those queries see every key."""
    bias = None if call.key_bias is None else call.key_bias[:, None]  # (B, 1, tokens)
    for text in call.text:
        out[:, :, text] = attend(call.q[:, :, text], call.k, call.v, bias, call.scale)


def head_runs(heads: Sequence[int]) -> list[slice]:
    """Consecutive head numbers as slices, so that a tensor of heads can be viewed instead of copied."""
    runs: list[slice] = []
    for head in heads:
        if runs and runs[-1].stop == head:
            runs[-1] = slice(runs[-1].start, head + 1)
        else:
            runs.append(slice(head, head + 1))
    return runs
