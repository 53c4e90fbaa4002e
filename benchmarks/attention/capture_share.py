"""What recording the attention adds to the demo's small run, on one thread."""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.common.small_model import SmallModel
from benchmarks.common.tables import Table
from demo.settings import STEPS

MOST_SHARE = 0.25
WAYS: dict[str, dict[str, Any]] = {
    "nothing": {"capture_rows": 0},
    "reach": {"capture_error": False},
    "reach and errors": {},
}


def capture_share_table(repeats: int, steps: int = STEPS) -> tuple[Table, float]:
    """The table, and what the default capture adds as a share of the run without.

    The ways take turns, and the fastest turn of each counts: what disturbs a turn, as other work that takes
    the cache, only ever adds. Seconds are the processor's.
    """
    model, threads = SmallModel(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model.recorded(0, 2)
        turns = [
            {way: _seconds(model, steps, inputs) for way, inputs in WAYS.items()} for _ in range(repeats)
        ]
    finally:
        torch.set_num_threads(threads)
    table = Table(
        f"The demo's small run of {steps} steps, one thread, {repeats} turns", ["recorded", "s", "adds"]
    )
    fastest = {way: min(turn[way] for turn in turns) for way in WAYS}
    added = {way: seconds / fastest["nothing"] - 1.0 for way, seconds in fastest.items()}
    for way, seconds in fastest.items():
        table.add(way, seconds, f"{added[way]:.1%}")
    return table, added["reach and errors"]


def _seconds(model: SmallModel, steps: int, inputs: dict[str, Any]) -> float:
    started = time.process_time()
    model.recorded(0, steps, **inputs)
    return time.process_time() - started
