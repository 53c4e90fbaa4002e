"""Heads travel to a helper and back; every byte is accounted for, because peer copies can be broken.

On some boards copies between two GPUs give zeros or old memory without an error. A sum over all words is
taken where they leave and where they arrive: one read of what was copied, far less than its attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..call import AttentionCall, VisitedKeys, head_runs
from .streams import streams_between

_PATTERN_WORDS = 2**18
"""Sent there and back before a helper computes anything: 1 MiB."""

_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers by their bytes; sums of integers are exact in any order."""


class WrongBytes(RuntimeError):
    """What arrived is not what was sent."""


class Transport:
    """Between the main device and one helper, on the helper's thread."""

    def __init__(self, main: torch.device, device: torch.device):
        self.main, self.device = main, device
        self.streams = streams_between(main, device)
        self._sums: list[tuple[Tensor, Tensor]] = []  # where it was sent, where it arrived

    def prove(self) -> None:
        """Sends a pattern there and back; raises WrongBytes if it comes back changed."""
        sent = torch.arange(_PATTERN_WORDS, dtype=torch.int32, device=self.main) * 2_654_435
        with self.streams.bringing():
            there = moved(sent, self.device)
        with self.streams.computing():
            there = ~there
        with self.streams.returning():
            back = moved(there, self.main)
        self.streams.finish()
        if not torch.equal(back, ~sent):
            raise WrongBytes

    def part(self, call: AttentionCall, heads: Sequence[int], visited: VisitedKeys) -> AttentionCall:
        """A call of some heads on the helper; visited: its counter."""
        with self.streams.bringing():
            q, k, v = (self._send(of_heads(x, heads), self.device) for x in (call.q, call.k, call.v))
            bias = call.key_bias
            if bias is not None:
                own = bias
                question = ("on", str(self.device))
                bias = call.masks.once(own, question, lambda: self._send(own.contiguous(), self.device))
        self.streams.lend(q, k, v)
        extents = tuple(call.extents[head] for head in heads)
        return replace(
            call, q=q, k=k, v=v, extents=extents, key_bias=bias, stats=visited, some_heads=None, result=None
        )

    def hand_back(self, result: Tensor, heads: Sequence[int], out: Tensor) -> None:
        """Writes a result (B, heads, tokens, dim) into those heads of `out` on the main device."""
        self.streams.lend(result)
        first = 0
        with self.streams.returning():
            back = self._send(result.contiguous(), self.main)
            for run in head_runs(heads):
                count = run.stop - run.start
                out[:, run] = back[:, first : first + count]
                first += count

    def finish(self) -> None:
        """Waits until nothing reads or writes any more."""
        self.streams.finish()

    def require_same_bytes(self) -> None:
        """After `finish`: raises WrongBytes if anything since the last time arrived changed."""
        sums, self._sums = self._sums, []
        if any(int(sent) != int(arrived) for sent, arrived in sums):
            raise WrongBytes

    def forget(self) -> None:
        """What was sent for a call that ended early is not asked for."""
        self._sums.clear()

    def _send(self, x: Tensor, device: torch.device) -> Tensor:
        """x, contiguous, on the other device."""
        arrived = moved(x, device)
        self._sums.append((word_sum(x), word_sum(arrived)))
        return arrived


def moved(x: Tensor, device: torch.device) -> Tensor:
    """A copy on another device."""
    return x.to(device, non_blocking=True, copy=True)


def word_sum(x: Tensor) -> Tensor:
    """() int64: the sum of a contiguous tensor's bytes, read as integers of eight bytes where they fit."""
    width = 8 if x.shape[-1] * x.element_size() % 8 == 0 else x.element_size()
    return x.view(_WORDS[width]).sum(dtype=torch.int64)


def of_heads(x: Tensor, heads: Sequence[int]) -> Tensor:
    """(B, all heads, tokens, dim) -> (B, heads, tokens, dim), a copy in one piece."""
    batch, _, tokens, dim = x.shape
    out = x.new_empty(batch, len(heads), tokens, dim)
    first = 0
    for run in head_runs(heads):
        count = run.stop - run.start
        out[:, first : first + count] = x[:, run]
        first += count
    return out
