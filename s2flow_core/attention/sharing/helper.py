"""One helping device: a thread that computes heads for as long as a run lasts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from threading import Event

import torch
from torch import Tensor

from ..call import AttentionCall, VisitedKeys
from .transport import Transport

_PIECES = 4
"""A helper's heads are computed in so many pieces: the next is on its way meanwhile."""

Compute = Callable[[AttentionCall, Sequence[int]], Tensor]
"""(B, heads, tokens, dim) of a part of a call. The part holds some heads, or is the whole call with
`some_heads` and `result`; the numbers say which head of the whole call each head of the part is."""


@dataclass(frozen=True)
class Share:
    """What one helper computes. heads: of `call`, ascending; out: (B, all heads, tokens, dim) to write to.
    ended: set when the call ends early."""

    call: AttentionCall
    heads: list[int]
    compute: Compute
    out: Tensor
    ended: Event


@dataclass(frozen=True)
class Done:
    """seconds: from the moment that the main device was ready."""

    visited: VisitedKeys
    seconds: float


class Helper:
    """Owns a thread and the streams of a device; `close` joins the thread."""

    def __init__(self, main: torch.device, device: torch.device):
        self.device = device
        self._transport = Transport(main, device)
        self._proven = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"s2flow {device}")

    def start(self, share: Share) -> Future[Done]:
        """Begins on what the main device has in its queue so far, in the caller's inference and grad mode."""
        self._transport.streams.mark_ready()
        inference, grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

        def work() -> Done:
            with torch.inference_mode(inference), torch.set_grad_enabled(grad), current(self.device):
                return self._compute(share)

        return self._thread.submit(work)

    def close(self) -> None:
        """Waits for what it computes, and joins the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _compute(self, share: Share) -> Done:
        transport, visited = self._transport, VisitedKeys()
        transport.forget()
        transport.streams.wait_ready()
        if not self._proven:
            transport.prove()
            self._proven = True
        started = time.perf_counter()
        try:
            for heads in pieces(share.heads):
                if share.ended.is_set():
                    break
                part = transport.part(share.call, heads, visited)
                with transport.streams.computing():
                    result = share.compute(part, heads)
                transport.hand_back(result, heads, share.out)
        finally:
            # Nothing may write to `out` any more when the main device computes these heads itself.
            transport.finish()
        transport.require_same_bytes()
        return Done(visited, time.perf_counter() - started)


def pieces(heads: Sequence[int]) -> Iterator[Sequence[int]]:
    """At most four runs of a list, as equal as they can be."""
    count = min(_PIECES, len(heads))
    cuts = [len(heads) * number // count for number in range(count + 1)] if count else [0]
    yield from (heads[first:end] for first, end in pairwise(cuts))


def current(device: torch.device) -> AbstractContextManager[object]:
    """Makes a device the one that new work goes to, where there can be several."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
