"""The solver's tables, and what in them falls short."""

from __future__ import annotations

import torch

from benchmarks.common.tables import Table
from benchmarks.solver.cascade import cascade_tables
from benchmarks.solver.exact_flow import SIDE, picture_flow
from benchmarks.solver.exact_runs import SCALE, method_name
from benchmarks.solver.orders import GRIDS, WRONG, control_table, exact_solution, order_table
from s2flow_core.solver.flow_solver import DEFAULT_ORDER, DEFAULT_SOURCE

COUNTS = (10, 20, 40, 80, 160, 320)
SHIFTS = (3.0, 5.0, 7.0)
STARTS, QUICK_STARTS = 96, 32

LEAST_SLOPES = {
    "order 2 low_res": 1.9,
    "order 2 history": 1.9,
    "order 2 blend": 1.9,
    "order 3 history": 2.7,
}
DEFAULT = method_name(DEFAULT_ORDER, DEFAULT_SOURCE)
# A wrong record may win this much by luck before it counts as a gain.
LUCK = 0.02


def measure(quick: bool) -> tuple[list[Table], list[str]]:
    """All tables, and a sentence for everything that falls short."""
    flow = picture_flow()
    low = flow.block_mean(SCALE)
    count = QUICK_STARTS if quick else STARTS
    noise = torch.randn(count, SIDE**2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = exact_solution(flow, noise)

    same = [order_table(flow, None, noise, exact, name, COUNTS) for name in GRIDS]
    half_grids = ["shift 7"] if quick else GRIDS
    half = [order_table(flow, low, noise, exact, name, COUNTS) for name in half_grids]
    methods, skips = cascade_tables(flow, low, noise, SHIFTS[::2] if quick else SHIFTS)
    controls = [control_table(flow, maker, noise, exact) for maker in (None, low)]
    problems = [
        *slope_problems(same),
        *default_problems(methods),
        *skip_problems(skips),
        *control_problems(controls),
    ]
    return [*same, *half, methods, skips, *controls], problems


def rows_of(table: Table) -> dict[str, list[float]]:
    """Row name -> numbers."""
    return {row[0]: row[1:] for row in table.rows}


def slope_problems(tables: list[Table]) -> list[str]:
    """Orders that a source fails to reach although LR = HR."""
    return [
        f"{table.title}: {name} has slope {rows_of(table)[name][-1]:.2f}, less than {least}."
        for table in tables
        for name, least in LEAST_SLOPES.items()
        if rows_of(table)[name][-1] < least
    ]


def default_problems(table: Table) -> list[str]:
    """Cases where the default is worse than core at equal model calls."""
    rows = rows_of(table)
    return [
        f"{table.title}, {column}: the default has error {ours:.3g}, {rival} {theirs:.3g}."
        for rival in ("Euler", "dpmpp_2m")
        for column, ours, theirs in zip(table.columns[1:], rows[DEFAULT], rows[rival])
        if ours > theirs
    ]


def skip_problems(table: Table) -> list[str]:
    """Cases where skipping adds more error than Euler had."""
    rows = rows_of(table)
    return [
        f"{table.title}, {column}: skipping adds {skipped - full:.3g}, Euler's error is {euler:.3g}."
        for column, skipped, full, euler in zip(
            table.columns[1:], rows["forecast blend"], rows["all steps"], rows["Euler, all steps"]
        )
        if skipped - full > euler
    ]


def control_problems(tables: list[Table]) -> list[str]:
    """Wrong records that help the paper's source."""
    return [
        f"{table.title}: a record '{name}' lowers the error of {column} to {ratio:.2f}."
        for table in tables
        for name in WRONG
        for column, ratio in zip(table.columns[1:], rows_of(table)[name])
        if column.startswith("low_res") and ratio < 1 - LUCK
    ]
