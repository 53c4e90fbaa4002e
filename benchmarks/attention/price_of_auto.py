"""What `auto` costs before and during a run: measuring once per machine, then reading what was kept."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch

from benchmarks.attention.inputs import spread_extents
from benchmarks.common.tables import Table
from s2flow_core.attention.call import AttentionCall
from s2flow_core.attention.choice import BackendChooser
from s2flow_core.attention.measured_rates import MeasuredRates
from s2flow_core.windows.grid import TokenGrid, choose_tile

GRIDS = ((16, 32, 32), (21, 30, 52), (21, 45, 80), (30, 48, 80), (31, 44, 80))
CUDA_GRIDS = ((30, 48, 80),)
"""Every other tile would have kernels compiled, for seconds."""

DENSITIES, TAILS = (0.25, 0.5), (False, True)
HEADS, DIM, STEPS, LAYERS = 12, 128, 50, 60
MOST_FIRST, MOST_LATER = {"cpu": 2.0, "cuda": 30.0}, 0.05
"""In seconds. On a GPU the first process may have to compile."""


def auto_price_table(device: str) -> tuple[Table, list[str]]:
    """Seconds of all decisions of a run of 50 steps and 60 layers, in a first and in a second process."""
    grids = CUDA_GRIDS if device == "cuda" else GRIDS
    calls = [call_of(shape, s, tail, device) for shape in grids for s in DENSITIES for tail in TAILS]
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "rates.json"
        # A second reader of the file knows what a second process would.
        first, second = (decided(calls, MeasuredRates(kept)) for _ in range(2))
    table = Table(f"Price of auto, {len(calls)} kinds of call, {STEPS} steps", ["process", "seconds"])
    table.add("first on this machine", first)
    table.add("later", second)
    table.note = (
        f"{STEPS * LAYERS} decisions over {HEADS} heads of {DIM}; no attention is computed but the measured."
    )
    limits = (("the first", first, MOST_FIRST[device]), ("a later", second, MOST_LATER))
    return table, [
        f"auto takes {taken:.2g} s in {which} process, more than {most:g} s."
        for which, taken, most in limits
        if taken > most
    ]


def decided(calls: list[AttentionCall], rates: MeasuredRates) -> float:
    chooser = BackendChooser("auto", rates)
    start = time.perf_counter()
    for number in range(STEPS * LAYERS):
        chooser.choose(calls[number % len(calls)])
    return time.perf_counter() - start


def call_of(shape: tuple[int, int, int], s: float, tail: bool, device: str) -> AttentionCall:
    """A call of true size without memory: every number is the same one."""
    grid = TokenGrid(shape, choose_tile(shape))
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    q = torch.zeros(1, dtype=dtype, device=device).expand(1, HEADS, grid.tokens, DIM)
    windows = tuple((t, h, w) for t, h, w in spread_extents(grid, s, HEADS).tolist())
    return AttentionCall(q, q, q, grid, windows, 0, 0, None, DIM**-0.5, tail)
