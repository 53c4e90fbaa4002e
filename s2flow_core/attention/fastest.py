"""The arithmetic behind `auto`: from the work of a call and the speed of backends to who computes what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..windows.extents import extent_densities
from ..windows.grid import TokenGrid, Triple
from .boxes import boxes_of
from .call import AttentionCall
from .registry import Backend
from .work import dense_flops, window_flops

_FLOPS_PER_CALL = 1e7
"""What one more call of torch's attention costs on a CPU core, expressed as arithmetic it could have done."""

_SECONDS_PER_CALL = 5e-5
"""The same on an accelerator: the launches of its copies and of the attention itself."""

_CLEARLY_FASTER = 0.97
"""Windows must take less than this part of dense's time: what is nearer may be the luck of one timing."""


@dataclass(frozen=True)
class Choice:
    """What `auto` computes a call with.

    backend: "dense" or the one that computes `heads` under their windows; the other heads stay dense. reason:
    as a sentence. costs: what each head takes, in one unit; empty where all take the same.
    """

    backend: str
    heads: tuple[int, ...]
    reason: str
    costs: tuple[float, ...] = ()


def counted(call: AttentionCall) -> Choice:
    """By arithmetic saved against calls added; windows that are the whole video are left dense."""
    windowed = windowed_heads(call)
    calls = sum(len(boxes_of(call.grid, extent)) for extent in {call.extents[head] for head in windowed})
    saved = dense_flops(call) * len(call.extents) * (1.0 - mean_density(call.grid, call.extents))
    if saved > calls * _FLOPS_PER_CALL:
        costs = tuple(window_flops(call, extent, whole_tiles=False) for extent in call.extents)
        return Choice(
            "torch_boxes", windowed, f"Windows save {saved:.1e} operations in {calls} calls.", costs
        )
    return Choice("dense", (), f"Windows would save {saved:.1e} operations but need {calls} calls.")


def fastest(call: AttentionCall, rival: str, able: Sequence[Backend], rates: Mapping[str, float]) -> Choice:
    """By the speed that was measured. rival: the dense attention; able: windowed backends; rates: operations
    per second by name, 0 where that could not be measured."""
    known = ", ".join(f"{name} {speed / 1e12:.3g}" for name, speed in rates.items() if speed)
    measured = f"(TFLOP/s measured here: {known or 'none'})"
    if not rates[rival]:
        # An installed attention that fails here may still compute the call as the model writes it.
        return Choice("dense", (), f"{rival} could not be measured, so it keeps the call {measured}.")
    windowed, dense = windowed_heads(call), dense_flops(call) / rates[rival]
    best, heads, least = "dense", (), _CLEARLY_FASTER * dense * len(call.extents)
    costs: tuple[float, ...] = ()
    for backend in able:
        if not rates[backend.name]:
            continue
        seconds = _seconds_of_heads(call, backend, rates[backend.name])
        chosen = tuple(head for head in windowed if seconds[head] < _CLEARLY_FASTER * dense)
        total = sum(seconds[head] for head in chosen) + dense * (len(seconds) - len(chosen))
        if chosen and total < least:
            best, heads, least = backend.name, chosen, total
            costs = tuple(seconds[head] if head in chosen else dense for head in range(len(seconds)))
    if best == "dense":
        return Choice("dense", (), f"{rival} is the fastest here {measured}.")
    share = f"{len(heads)} of {len(call.extents)} heads"
    return Choice(best, heads, f"{best} computes {share}, {rival} the others {measured}.", costs)


def windowed_heads(call: AttentionCall) -> tuple[int, ...]:
    """The heads whose window leaves something out."""
    return tuple(head for head, extent in enumerate(call.extents) if extent != call.grid.tiles)


def mean_density(grid: TokenGrid, extents: Sequence[Triple]) -> float:
    """Mean share of the video's keys that a query sees."""
    densities = extent_densities(grid)
    return sum(densities[t - 1, h - 1, w - 1].item() for t, h, w in extents) / len(extents)


def _seconds_of_heads(call: AttentionCall, backend: Backend, speed: float) -> list[float]:
    """What each head takes under its window."""
    overhead = _FLOPS_PER_CALL / speed if call.q.device.type == "cpu" else _SECONDS_PER_CALL
    seconds: dict[Triple, float] = {}
    for extent in set(call.extents):
        # One launch computes all heads in a kernel of our own; torch is called for every kind of box.
        calls = 0 if backend.whole_tiles else len(boxes_of(call.grid, extent))
        work = window_flops(call, extent, backend.whole_tiles)
        seconds[extent] = work / speed + calls * overhead / call.extents.count(extent)
    return [seconds[extent] for extent in call.extents]
