"""Fair timing: everything that is compared takes turns, and medians are taken."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

from comfyui_runner.installation import computes_on


def median_seconds(runs: Mapping[str, Callable[[], object]], rounds: int, device: str) -> dict[str, float]:
    """Median wall time of each function over alternating rounds. They must have run once before."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name in runs:
            times[name].append(_seconds(runs[name], device))
    return {name: statistics.median(taken) for name, taken in times.items()}


def processor_seconds(column: str, seconds: float) -> dict[str, float]:
    """A column of seconds of the processor; none where a GPU computes, whose time they do not hold."""
    return {column: seconds} if computes_on() == "cpu" else {}


def _seconds(run: Callable[[], object], device: str) -> float:
    finish = torch.cuda.synchronize if device == "cuda" else lambda: None
    finish()
    start = time.perf_counter()
    run()
    finish()
    return time.perf_counter() - start
