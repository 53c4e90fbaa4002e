"""The grids that are measured, the tables, and what in them falls short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.util import find_spec

import torch
from torch import Tensor

from benchmarks.attention.capture_cost import capture_table
from benchmarks.attention.capture_share import MOST_SHARE, capture_share_table
from benchmarks.attention.compiled_kernels import compile_table
from benchmarks.attention.counted_capture import counted_capture
from benchmarks.attention.coverage import coverage_tables, random_run, reach_of
from benchmarks.attention.inputs import HR_STEPS, CapturedRun, captured_run, random_inputs, spread_extents
from benchmarks.attention.int8_error import int8_error_table
from benchmarks.attention.linearity import linearity_table
from benchmarks.attention.price_of_auto import auto_price_table
from benchmarks.attention.record import record_table
from benchmarks.attention.speed import Speeds, compare_speed
from benchmarks.attention.tuning import tuning_table
from benchmarks.common.exact_attention import Inputs
from benchmarks.common.tables import Table, where
from demo.settings import STEPS
from s2flow_core.plan.policies import plan_windows
from s2flow_core.windows.grid import TokenGrid, choose_tile

CPU_GRID = TokenGrid((16, 32, 32))
CUDA_GRIDS = (TokenGrid((30, 48, 80)), TokenGrid((30, 96, 160)))
CUDA_HEADS, DIM = 24, 128
CUDA_RESIZE = 16  # 81,920 tokens of the small model: enough to keep a GPU busy
DENSITIES = (0.25, 0.5, 0.75)
LEAST_SPEEDUP = {"cpu": {0.25: 3.0, 0.5: 1.6}, "cuda": {0.25: 3.5, 0.5: 1.8, 0.75: 1.2}}
MOST_CAPTURE = 0.01
SAME_DENSITY = 0.03


def measure(device: str, quick: bool, tune: bool) -> tuple[list[Table], list[str]]:
    """All tables, and a sentence for everything that falls short."""
    tables, problems = [show(where(device))], []
    for inputs, densities, rounds in random_cases(device, quick):
        windows = {s: spread_extents(inputs.grid, s, inputs.q.shape[1]) for s in densities}
        speeds = compare_speed(inputs, windows, rounds, with_flex=device == "cuda" or not quick)
        costs, share = capture_table(inputs, speeds.fastest_dense, rounds)
        tables += [show(speeds.table), show(costs)]
        problems += speeds.wrong + speed_problems(inputs, speeds, device)
        if device == "cuda" and share > MOST_CAPTURE:
            problems.append(f"{inputs.name}: capture takes {share:.1%} of a dense call, more than 1 %.")
        if tune and device == "cuda" and inputs.grid == CUDA_GRIDS[0]:
            tables.append(show(tuning_table(inputs)))
        del inputs
    with_triton = find_spec("triton") is not None
    if with_triton:
        counted, counted_share = counted_capture()
        tables.append(show(counted))
        if counted_share > MOST_CAPTURE:
            problems.append(f"Capture is counted as {counted_share:.1%} of a dense call, more than 1 %.")
    else:
        print("Triton is not installed: no counted capture, eight bits or compiled kernels.", end="\n\n")
    problems += demo_problems(tables, quick)
    run = activations()
    coverage, coverage_problems = coverage_tables(run, DENSITIES[:2] if quick else DENSITIES)
    tables += [show(table) for table in coverage]
    inputs, windows = captured_case(
        activations(CUDA_RESIZE, HR_STEPS[1:2]) if device == "cuda" else run, device
    )
    speeds = compare_speed(inputs, windows, rounds=5, with_tail=True)
    tables.append(show(speeds.table))
    problems += coverage_problems + speeds.wrong + rival_problems(inputs, speeds)
    if not quick:
        last: list[Callable[[], tuple[Table, list[str]]]] = [
            partial(linearity_table, device),
            partial(auto_price_table, device),
            record_table,
        ]
        if with_triton:
            last += [partial(int8_error_table, run, device), compile_table]
        for make in last:
            made, wrong = make()
            tables.append(show(made))
            problems += wrong
    return tables, problems


def demo_problems(tables: list[Table], quick: bool) -> list[str]:
    """Adds the table of the demo's small run; a sentence where its capture costs too much."""
    try:
        table, share = capture_share_table(*((3, 8) if quick else (5, STEPS)))
    except (SystemExit, ImportError) as missing:
        print(f"The capture of the demo's small run was not measured: {missing}", end="\n\n")
        return []
    tables.append(show(table))
    if share <= MOST_SHARE:
        return []
    return [f"Capture adds {share:.0%} to the demo's small run, more than {MOST_SHARE:.0%}."]


def random_cases(device: str, quick: bool) -> Iterator[tuple[Inputs, tuple[float, ...], int]]:
    """(inputs, densities, rounds), made one after another because the large ones fill a GPU."""
    if device == "cpu":
        inputs = random_inputs(CPU_GRID, 1 if quick else 2, DIM, torch.float32, device)
        yield inputs, DENSITIES[:2] if quick else DENSITIES, 3 if quick else 5
        return
    for grid in CUDA_GRIDS[:1] if quick else CUDA_GRIDS:
        yield random_inputs(grid, CUDA_HEADS, DIM, torch.bfloat16, device), DENSITIES, 3


@cache
def activations(resize: int = 2, steps: tuple[int, ...] = HR_STEPS) -> CapturedRun:
    """The small model's, or random ones where its file or its host is missing."""
    try:
        return captured_run(resize, steps)
    except (SystemExit, ImportError) as missing:
        print(f"Random numbers stand in for the small model's activations: {missing}", end="\n\n")
        return random_run(resize, steps)


def captured_case(run: CapturedRun, device: str) -> tuple[Inputs, dict[float, Tensor]]:
    """The first layer of the last HR step that was asked, with the windows that `paper` gives it."""
    step, dtype = max(run.high), torch.bfloat16 if device == "cuda" else torch.float32
    q, k, v = (x.to(device, dtype) for x in run.high[step][0])
    grid = TokenGrid(run.high_grid, choose_tile(run.high_grid))
    reach = reach_of(run)
    plans = {s: plan_windows(reach, run.sigmas, grid, s, "paper") for s in DENSITIES}
    windows = {s: plan.extents_at(step, 0) for s, plan in plans.items()}
    return Inputs(f"{run.source}, {grid.tokens} tokens", q, k, v, grid), windows


def speed_problems(inputs: Inputs, speeds: Speeds, device: str) -> list[str]:
    """Densities at which our fastest backend is slower than it must be."""
    problems = []
    for s, least in LEAST_SPEEDUP[device].items():
        ours = [
            speeds.fastest_dense / taken
            for (name, density), taken in speeds.seconds.items()
            if name.startswith("s2flow") and abs(density - s) <= SAME_DENSITY
        ]
        if max(ours, default=0.0) < least:
            best = max(ours, default=0.0)
            problems.append(f"{inputs.name}, s = {s}: {best:.2f} times the fastest dense, less than {least}.")
    return problems


def rival_problems(inputs: Inputs, speeds: Speeds) -> list[str]:
    """Results of sol_attn that none of ours matches in error without being slower."""
    ours = [key for key in speeds.seconds if key[0].startswith("s2flow")]
    return [
        f"{inputs.name}: {name} at s = {s} takes {seconds * 1e3:.3g} ms, and ours takes longer at that error."
        for (name, s), seconds in speeds.seconds.items()
        if "sol_attn" in name
        and not any(
            speeds.seconds[key] <= seconds and speeds.errors[key] <= speeds.errors[name, s] for key in ours
        )
    ]


def show(table: Table) -> Table:
    print(table.text(), end="\n\n", flush=True)
    return table
