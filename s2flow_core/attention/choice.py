"""Which backend `auto` takes: the fastest that can compute the call, and dense where windows cannot win.

Dense means the attention that the caller has installed, or torch's own where it names none. What is fastest
depends on the chip, so it is timed once per device and kind of call and kept for as long as the process
lives. Those timings are the only state. Small calls on the CPU are decided by counting instead: there, timing
costs more than a wrong choice, and a count gives the same answer on every run.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from ..windows.extents import extent_densities
from ..windows.grid import TokenGrid, Triple
from .backends.torch_boxes import boxes_of
from .call import AttentionCall
from .registry import BACKENDS, Backend

log = logging.getLogger(__name__)

_SMALL_CPU_FLOPS = 4e10
"""Calls below this (half a second on two cores) are decided by counting."""

_FLOPS_PER_CALL = 1e7
"""What one more call of torch's attention costs on a CPU core, expressed as arithmetic it could have done."""

_CLEARLY_FASTER = 0.97
"""Windows must take less than this part of dense's time: what is nearer may be the luck of one timing."""

_DENSITY_BUCKETS = 20
"""Densities within a twentieth are one kind: windows change from step to step, and each kind is timed."""


@dataclass(frozen=True)
class Choice:
    """The backend that `auto` takes, and the reason as a sentence."""

    backend: str
    reason: str


class Computes(Protocol):
    """A backend, or the attention that is installed."""

    @property
    def name(self) -> str:
        """What it is called in the log and in a `Choice`."""
        ...

    def run(self, call: AttentionCall) -> Tensor:
        """(B, heads, tokens, dim) of the call's attention, in q's dtype."""
        ...


Kind = tuple[object, ...]
"""What tells calls apart that may be fastest in different ways."""

_measured: dict[Kind, Choice] = {}
"""The choices made by timing in this process."""


def choose_backend(call: AttentionCall) -> Choice:
    """What `auto` computes this call with: never something that was found slower than dense.

    Where counting does not decide, the first call of a kind is timed with every backend that can compute it;
    one that fails is logged and left out.
    """
    density = mean_density(call.grid, call.extents)
    if density == 1.0:
        return Choice("dense", "Every window is the whole video.")
    able = [backend for backend in BACKENDS.values() if backend.windows and backend.refusal(call) is None]
    if not able:
        return Choice("dense", "No windowed backend can compute this call.")
    if call.q.device.type == "cpu" and _dense_flops(call) < _SMALL_CPU_FLOPS:
        return _counted(call, density)
    kind = _kind(call, density)
    if kind not in _measured:
        _measured[kind] = _fastest(call, able)
        log.info("S²Flow attention, %d tokens: %s", call.q.shape[2], _measured[kind].reason)
    return _measured[kind]


def measured_choices() -> dict[Kind, Choice]:
    """The choices made by timing so far, by kind of call."""
    return dict(_measured)


@lru_cache(maxsize=4096)
def mean_density(grid: TokenGrid, extents: tuple[Triple, ...]) -> float:
    """Mean share of the video's keys that a query sees; exactly 1.0 if no window leaves anything out."""
    if all(extent == grid.tiles for extent in extents):
        return 1.0
    densities = extent_densities(grid)
    return sum(densities[t - 1, h - 1, w - 1].item() for t, h, w in extents) / len(extents)


def _counted(call: AttentionCall, density: float) -> Choice:
    """Arithmetic saved against calls added."""
    calls = sum(len(boxes_of(call.grid, extent)) for extent in set(call.extents))
    saved = _dense_flops(call) * (1.0 - density)
    if saved > calls * _FLOPS_PER_CALL:
        return Choice("torch_boxes", f"Windows save {saved:.1e} operations in {calls} calls.")
    return Choice("dense", f"Windows would save {saved:.1e} operations but need {calls} calls.")


def _dense_flops(call: AttentionCall) -> float:
    return 4.0 * math.prod(call.q.shape) * call.q.shape[2]


def _kind(call: AttentionCall, density: float) -> Kind:
    """Calls of one kind are taken to rank the backends alike."""
    device = call.q.device
    return (
        f"{device.type}:{device.index}",
        call.q.dtype,
        tuple(call.q.shape),
        call.grid,
        call.tail,
        call.key_bias is not None,
        None if call.installed is None else call.installed.name,
        math.ceil(density * _DENSITY_BUCKETS) / _DENSITY_BUCKETS,
    )


def _fastest(call: AttentionCall, able: list[Backend]) -> Choice:
    sample = _sample(call)
    rival: Computes = BACKENDS["dense"] if call.installed is None else call.installed
    times: dict[str, float] = {}
    for computes in (rival, *able):
        try:
            times[computes.name] = _seconds(computes, sample)
        except Exception as error:  # no kernel's failure may end a sampling run
            log.warning("S²Flow attention: '%s' failed and is left out: %s", computes.name, error)
    measured = ", ".join(f"{name} {seconds * 1e3:.3g} ms" for name, seconds in times.items())
    # An installed attention that fails here may still compute the call as the model writes it.
    limit = times.pop(rival.name, math.inf if call.installed is None else 0.0)
    best = min(times, key=lambda name: times[name], default=None)
    if best is None or times[best] > _CLEARLY_FASTER * limit:
        return Choice("dense", f"{rival.name} is the fastest here ({measured}).")
    return Choice(best, f"{best} is the fastest here ({measured}).")


def _sample(call: AttentionCall) -> AttentionCall:
    """The part of a call that is timed: on the CPU one head of typical density, elsewhere all of it."""
    call = replace(call, stats=None)
    if call.q.device.type != "cpu":
        return call
    by_density = sorted(range(len(call.extents)), key=lambda h: mean_density(call.grid, (call.extents[h],)))
    head = by_density[len(by_density) // 2]
    q, k, v = (x[:1, head : head + 1] for x in (call.q, call.k, call.v))
    bias = None if call.key_bias is None else call.key_bias[:1]
    return replace(call, q=q, k=k, v=v, extents=(call.extents[head],), key_bias=bias)


def _seconds(computes: Computes, call: AttentionCall) -> float:
    """Wall time of one run; on an accelerator the better of two after a run that compiles and warms up."""
    device = call.q.device
    if device.type != "cpu":
        computes.run(call)
    best = math.inf
    for _ in range(1 if device.type == "cpu" else 2):
        _finish(device)
        start = time.perf_counter()
        computes.run(call)
        _finish(device)
        best = min(best, time.perf_counter() - start)
    return best


def _finish(device: torch.device) -> None:
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()
