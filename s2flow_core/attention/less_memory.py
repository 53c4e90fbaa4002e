"""Windowed attention that runs out of memory goes on in smaller pieces, then by another backend.

How far it had to step down is kept on the run's chooser, so the next layer does not fail first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .call import AttentionCall, VisitedKeys
from .choice import BackendChooser
from .errors import WindowsCannotWin, WindowsNotApplicable
from .registry import BACKENDS
from .trust import is_out_of_memory

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Way:
    """One way to compute a call. heads: at a time, None is all. backend: None is what the chooser takes."""

    heads: int | None
    backend: str | None = None

    def __str__(self) -> str:
        by = "" if self.backend is None else f" by '{self.backend}'"
        return f"all heads at once{by}" if self.heads is None else f"{self.heads} head(s) at a time{by}"

    def compute(self, call: AttentionCall, chooser: BackendChooser) -> Tensor:
        """(B, heads, tokens, dim)"""
        run = chooser.compute if self.backend is None else BACKENDS[self.backend].run
        return run(call) if self.heads is None else _in_groups(call, self.heads, run)


def compute_within_memory(call: AttentionCall, chooser: BackendChooser) -> Tensor:
    """(B, heads, tokens, dim) of the first way that memory suffices for, from the run's present one on.

    Raises as `window_attention` says, and WindowsNotApplicable where memory suffices for none.
    """
    ways = list(_ways(call, chooser.name))
    while chooser.memory_steps < len(ways):
        way = ways[chooser.memory_steps]
        visited = VisitedKeys()
        try:
            out = way.compute(replace(call, stats=visited), chooser)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        else:
            if call.stats is not None:
                call.stats.add(visited)
            return out
        _release(call.q.device)  # here, where the error no longer holds the tensors of its frames
        chooser.memory_steps += 1
        _say(ways, chooser.memory_steps, call, problem)
    raise WindowsNotApplicable(
        f"memory does not suffice for windows over {call.q.shape[2]} tokens, not even for one head at a time"
    )


def _ways(call: AttentionCall, name: str) -> Iterator[Way]:
    """All heads at once, then half as many at a time down to one, then the other backends head by head."""
    yield Way(None)
    heads = call.q.shape[1]
    while heads > 1:
        heads = (heads + 1) // 2
        yield Way(heads)
    for backend in BACKENDS.values():
        other = backend.windows and backend.name != name and not backend.by_installed
        if other and backend.accepted(call) and backend.refusal(call) is None:
            yield Way(1, backend.name)


def _in_groups(call: AttentionCall, at_a_time: int, run: Callable[[AttentionCall], Tensor]) -> Tensor:
    """(B, heads, tokens, dim) of a few heads after the others."""
    out = call.output()
    for start in range(0, call.q.shape[1], at_a_time):
        some = slice(start, start + at_a_time)
        part = replace(
            call, q=call.q[:, some], k=call.k[:, some], v=call.v[:, some], extents=call.extents[some]
        )
        try:
            out[:, some] = run(part)
        except WindowsCannotWin:
            if start:  # a layer is computed in one way or the other
                out[:, some] = BACKENDS["dense"].run(part)
                continue
            raise
    return out


def _say(ways: list[Way], step: int, call: AttentionCall, problem: str) -> None:
    """Logs a step down and what it costs; once, because the run stays there."""
    if step < len(ways):
        log.warning(
            "S²Flow attention ran out of memory over %d tokens (%s); from here on %s, which is a little "
            "slower and gives the same video.",
            call.q.shape[2],
            problem,
            ways[step],
        )


def _release(device: torch.device) -> None:
    """Gives cached blocks back, so that a smaller request does not fail for want of one piece."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
