"""No kernel is believed before it was checked on the chip that it is to run on."""

from __future__ import annotations

import logging

import torch

from .call import AttentionCall
from .measured_rates import MeasuredRates, device_name
from .probe import deviation, variant
from .registry import Backend

log = logging.getLogger(__name__)

MOST_DEVIATION = {torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 1e-2}
"""What a kernel may differ from the reference by; a tile that is left out differs by ten times as much."""

_MOST_DEVIATION_IN_EIGHT_BITS = 2e-2
_MOST_DEVIATION_OF_INSTALLED_EIGHT_BITS = 0.1
"""SageAttention rounds values too, some versions to four bits; the artist has accepted that."""

REPORT_AT = "https://github.com/s2flow/ComfyUI-S2Flow/issues"


def wrong_numbers(backend: Backend, call: AttentionCall, rates: MeasuredRates) -> str | None:
    """What is wrong with a backend's numbers in calls of this variant; None if they are right.

    Compared once with torch on a small call (`probe.deviation`); only what was right is kept. Raises what the
    backend raises.
    """
    device, allowed = call.q.device, MOST_DEVIATION.get(call.q.dtype, MOST_DEVIATION[torch.bfloat16])
    if backend.eight_bits:
        allowed = _MOST_DEVIATION_IN_EIGHT_BITS
    if backend.by_installed and call.installed is not None and call.installed.eight_bits:
        allowed = _MOST_DEVIATION_OF_INSTALLED_EIGHT_BITS
    if device.type in backend.proven_on:
        return None
    found: list[float] = []

    def check() -> float:
        found.append(deviation(backend, call))
        if not found[0] <= allowed:  # also where it is no number
            raise ArithmeticError
        return found[0]

    try:
        rates.number(device, f"deviation of {backend.measured_as(call)}: {variant(call)}", check)
    except ArithmeticError:
        if not found:
            raise
        return f"gives wrong numbers (relative error {found[0]:.2g} in a test call)"
    return None


def say_left_out(name: str, call: AttentionCall, problem: str | Exception, ours: bool = True) -> None:
    """One sentence: which kernel, on which card, what went wrong, and where to report it if it is ours."""
    where = f"on {device_name(call.q.device)} for {variant(call)}"
    if isinstance(problem, Exception) and is_out_of_memory(problem):
        log.warning("S²Flow attention: '%s' is left out of this run, it lacks memory %s.", name, where)
        return
    if not ours:
        log.info("S²Flow attention: '%s' %s %s; another way is taken.", name, _what(problem), where)
        return
    log.warning(
        "S²Flow attention: the kernel '%s' %s %s and is left out of this run; another way is taken. Please "
        "report this line at %s",
        name,
        _what(problem),
        where,
        REPORT_AT,
    )


def is_out_of_memory(error: Exception) -> bool:
    """Whether a failure says nothing about the kernel; some devices tell it by words alone."""
    words = str(error).lower()
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        told in words
        for told in ("out of memory", "can't allocate memory")  # the latter on the CPU
    )


def _what(problem: str | Exception) -> str:
    return f"failed ({first_line(problem)})" if isinstance(problem, Exception) else problem


def first_line(error: Exception) -> str:
    """What an error says, short enough for the log."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
