"""Cost against tokens where the window stays the same: it must grow as the tokens do, not as their square."""

from __future__ import annotations

import math
from functools import partial

import torch

from benchmarks.attention.inputs import random_inputs
from benchmarks.common.tables import Table
from benchmarks.common.timing import median_seconds
from s2flow_core.attention.call import AttentionCall
from s2flow_core.attention.registry import BACKENDS
from s2flow_core.windows.grid import TokenGrid, Triple

TILE = (2, 8, 8)
EXTENT: Triple = (2, 2, 2)  # of 128 tokens each
FRAMES = {"cpu": (4, 8, 16, 32), "cuda": (15, 30, 60, 120)}
SIDES = {"cpu": (32, 32), "cuda": (64, 64)}
MOST_SLOPE = 1.1
DIM, HEADS = 128, {"cpu": 1, "cuda": 8}


ROUNDS = {"cpu": 5, "cuda": 3}


def linearity_table(device: str) -> tuple[Table, list[str]]:
    """Milliseconds for each number of tokens and the slope of their logarithms, by backend."""
    tokens = [frames * math.prod(SIDES[device]) for frames in FRAMES[device]]
    seconds: dict[str, list[float]] = {}
    for frames in FRAMES[device]:
        for name, taken in measured(frames, device, ROUNDS[device]).items():
            seconds.setdefault(name, []).append(taken)
    table = Table(
        f"Cost against tokens, a window of {math.prod(EXTENT)} tiles, {HEADS[device]} head(s)",
        ["backend", *(f"{n} tokens, ms" for n in tokens), "slope"],
    )
    slopes = {name: slope(tokens, taken) for name, taken in seconds.items()}
    for name, taken in seconds.items():
        table.add(name, *(1e3 * one for one in taken), slopes[name])
    table.note = "Slope 1: twice the tokens take twice the time; dense attention has 2."
    return table, [
        f"{name} grows with the power {steep:.2f} of the tokens, more than {MOST_SLOPE}."
        for name, steep in slopes.items()
        if BACKENDS[name].windows and steep > MOST_SLOPE
    ]


def measured(frames: int, device: str, rounds: int) -> dict[str, float]:
    """Backend -> seconds of one call."""
    grid = TokenGrid((frames, *SIDES[device]), TILE)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    inputs = random_inputs(grid, HEADS[device], DIM, dtype, device)
    windows = (EXTENT,) * HEADS[device]
    call = AttentionCall(inputs.q, inputs.k, inputs.v, grid, windows, 0, 0, None, DIM**-0.5, False)
    runs = {
        name: partial(backend.run, call)
        for name, backend in BACKENDS.items()
        if backend.refusal(call) is None
    }
    for run in runs.values():
        run()
    return median_seconds(runs, rounds, device)


def slope(sizes: list[int], seconds: list[float]) -> float:
    """Of the straight line through the logarithms, by least squares."""
    x, y = (torch.tensor(values, dtype=torch.float64).log() for values in (sizes, seconds))
    x, y = x - x.mean(), y - y.mean()
    return (x @ y / (x @ x)).item()
