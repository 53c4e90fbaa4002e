"""What every attention backend is given, and what it reports back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from ..windows.grid import TokenGrid, Triple
from .known_masks import KnownMasks


@dataclass
class VisitedKeys:
    """Counts what was really computed: (query, key) pairs of video tokens, over batch and heads.

    Backends add to it where they compute, so a test can hold the work done against the density promised.
    computed: seen, and what a kernel computes beside it because it works in whole tiles.
    """

    seen: int = 0
    possible: int = 0
    computed: int = 0

    @property
    def density(self) -> float:
        """Share of all video keys that the mean query saw, 0...1."""
        return self.seen / max(self.possible, 1)

    @property
    def work(self) -> float:
        """What was computed as a share of dense attention; partial tiles make it more than the density."""
        return self.computed / max(self.possible, 1)

    def add_dense(self, batch: int, heads: int, tokens: int) -> None:
        """Counts a call in which every one of the video's tokens sees all of them."""
        pairs = batch * heads * tokens**2
        self.seen += pairs
        self.possible += pairs
        self.computed += pairs

    def add(self, other: VisitedKeys) -> None:
        """Counts what another counter has counted."""
        self.seen += other.seen
        self.possible += other.possible
        self.computed += other.computed


@dataclass(frozen=True)
class InstalledAttention:
    """The attention that computed a call before there were windows, which windows must beat.

    attend: (q, k, v, key_bias) -> (B, heads, tokens, dim), the arguments as in `AttentionCall`. name: tells
    one such attention from another, because what was measured against one says nothing about the other.
    eight_bits: it computes in eight bits or fewer, as SageAttention does. shareable: it may be called for
    some heads and on several threads at once; what other packs put there may count its calls.
    """

    name: str
    attend: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
    eight_bits: bool = False
    shareable: bool = True

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
    some_heads: those to compute, ascending; None is all. result: where to write them; None is new memory.
    masks: what is known of `key_bias`.
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
    some_heads: tuple[int, ...] | None = None
    result: Tensor | None = None
    masks: KnownMasks = field(default_factory=KnownMasks, compare=False)

    @property
    def heads(self) -> Sequence[int]:
        """The numbers of the heads to compute."""
        return range(self.q.shape[1]) if self.some_heads is None else self.some_heads

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
        for head in self.heads:
            groups.setdefault(self.extents[head], []).append(head)
        return groups

    def output(self) -> Tensor:
        """(B, heads, tokens, dim) to write to; heads that are not computed are left as they are."""
        if self.result is not None:
            return self.result
        batch, heads, tokens, dim = self.q.shape
        # Token-major memory: hosts flatten the heads next, which then costs nothing.
        return self.q.new_empty(batch, tokens, heads, dim).transpose(1, 2)


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
    for heads in head_runs(call.heads):
        for text in call.text:
            q, k, v = call.q[:, heads, text], call.k[:, heads], call.v[:, heads]
            out[:, heads, text] = attend(q, k, v, bias, call.scale)


def head_runs(heads: Sequence[int]) -> list[slice]:
    """Consecutive head numbers as slices, so that a tensor of heads can be viewed instead of copied."""
    runs: list[slice] = []
    for head in heads:
        if runs and runs[-1].stop == head:
            runs[-1] = slice(runs[-1].start, head + 1)
        else:
            runs.append(slice(head, head + 1))
    return runs
