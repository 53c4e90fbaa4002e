"""What is measured on the CPU, and what in a comparison falls short on any device."""

from __future__ import annotations

from collections.abc import Callable
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
from benchmarks.attention.results import Results
from benchmarks.attention.rivals import Rival
from benchmarks.attention.speed import Speeds, compare_speed
from benchmarks.common.exact_attention import Inputs
from benchmarks.common.tables import Table
from demo.settings import STEPS
from s2flow_core.plan.policies import plan_windows
from s2flow_core.windows.grid import TokenGrid, choose_tile

CPU_GRID, DIM = TokenGrid((16, 32, 32)), 128
DENSITIES = (0.25, 0.5, 0.75)
LEAST_SPEEDUP = {"cpu": {0.25: 3.0, 0.5: 1.6}, "cuda": {0.25: 3.5, 0.5: 1.8, 0.75: 1.2}}
MOST_CAPTURE = 0.01
SAME_DENSITY = 0.03


def measure_cpu(results: Results, quick: bool) -> None:
    """All tables of a machine without a GPU."""
    densities = DENSITIES[:2] if quick else DENSITIES
    inputs = random_inputs(CPU_GRID, 1 if quick else 2, DIM, torch.float32, "cpu")
    flex = () if quick else densities
    results.measure(
        "random numbers", lambda: add_comparison(results, inputs, densities, 3 if quick else 5, flex=flex)
    )
    with_triton = find_spec("triton") is not None
    if with_triton:
        results.measure("counted capture", lambda: add_counted_capture(results))
    else:
        print("Triton is not installed: no counted capture, eight bits or compiled kernels.", end="\n\n")
    results.measure("the demo's small run", lambda: add_demo(results, quick))
    results.measure("what windows keep", lambda: add_coverage(results, activations(), densities))
    results.measure("captured numbers", lambda: add_captured(results, activations(), "cpu", rounds=5))
    if quick:
        return
    last: dict[str, Callable[[], tuple[Table, list[str]]]] = {
        "cost against tokens": partial(linearity_table, "cpu"),
        "price of auto": partial(auto_price_table, "cpu"),
        "record": record_table,
    }
    if with_triton:
        last["eight bits"] = lambda: int8_error_table(activations(), "cpu")
        last["compiled kernels"] = compile_table
    for name, make in last.items():
        results.measure(name, partial(_add_made, results, make))


def _add_made(results: Results, make: Callable[[], tuple[Table, list[str]]]) -> None:
    results.add(*make())


def add_comparison(
    results: Results,
    inputs: Inputs,
    densities: tuple[float, ...],
    rounds: int,
    flex: tuple[float, ...] = (),
    skips: Callable[[Rival], bool] = lambda rival: False,
) -> None:
    """Random numbers by everything that can compute them, and what their capture costs beside it.

    flex: densities at which FlexAttention is built; skips: which rivals would take too long.
    """
    windows = {s: spread_extents(inputs.grid, s, inputs.q.shape[1]) for s in densities}
    device = inputs.q.device.type
    speeds = compare_speed(inputs, windows, rounds, flex, skips=skips)
    results.add(speeds.table, speeds.wrong + speed_problems(inputs, speeds, device, densities))
    costs, share = capture_table(inputs, speeds.fastest_dense, rounds)
    problems: list[str] = []
    if device == "cuda" and share > MOST_CAPTURE:
        problems = [f"{inputs.name}: capture takes {share:.1%} of a dense call, more than 1 %."]
    results.add(costs, problems)


def add_counted_capture(results: Results) -> None:
    counted, share = counted_capture()
    problem = f"Capture is counted as {share:.1%} of a dense call, more than 1 %."
    results.add(counted, [problem] if share > MOST_CAPTURE else [])


def add_demo(results: Results, quick: bool) -> None:
    """The table of the demo's small run; a sentence where its capture costs too much."""
    try:
        table, share = capture_share_table(*((3, 8) if quick else (5, STEPS)))
    except (SystemExit, ImportError) as missing:
        print(f"The capture of the demo's small run was not measured: {missing}", end="\n\n")
        return
    problem = f"Capture adds {share:.0%} to the demo's small run, more than {MOST_SHARE:.0%}."
    results.add(table, [problem] if share > MOST_SHARE else [])


def add_coverage(results: Results, run: CapturedRun, densities: tuple[float, ...]) -> None:
    tables, problems = coverage_tables(run, densities)
    for table in tables:
        results.add(table)
    results.problems += problems
    results.keep()


def add_captured(results: Results, run: CapturedRun, device: str, rounds: int) -> None:
    """The captured attention under the windows that it would be given, with tail and without."""
    inputs, windows = captured_case(run, device)
    speeds = compare_speed(inputs, windows, rounds, with_tail=True)
    results.add(speeds.table, speeds.wrong + rival_problems(inputs, speeds))


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


def speed_problems(inputs: Inputs, speeds: Speeds, device: str, densities: tuple[float, ...]) -> list[str]:
    """Densities at which our fastest backend is slower than it must be."""
    problems: list[str] = []
    for s, least in LEAST_SPEEDUP[device].items():
        ours = [
            speeds.fastest_dense / taken
            for (name, density), taken in speeds.seconds.items()
            if name.startswith("s2flow") and abs(density - s) <= SAME_DENSITY
        ]
        if s in densities and max(ours, default=0.0) < least:
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
