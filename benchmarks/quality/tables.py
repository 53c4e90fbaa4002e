"""Means over seeds with paired intervals, and the bars that they are held to."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.common.intervals import mean_interval
from benchmarks.common.kept_rows import Rows
from benchmarks.common.tables import Table
from benchmarks.quality.chain import CHAIN, JUMP
from benchmarks.quality.paper_case import LARGEST_KNOWN, paper_case_problems
from benchmarks.quality.runs import ALL_DEFAULTS, CALLS, DEFAULT, DIRECT, ENLARGED, EULER, RIVALS

Measured = dict[str, list[Rows]]  # table -> one Rows per seed
ERRORS = ["whole", "low", "high"]
SHOWN = ["prompt", "color", "shape", "direction", "single", "flicker", "motion", "detail", "LR PSNR"]
LOOKS = ["waves", "ragged", "ghost", "blotches"]
CASE = [*SHOWN, *LOOKS, "density", "calls", "CPU s"]
# title, table, columns, the row that others are compared to, the column that is compared
LAYOUTS = {
    "methods": ("Methods", [*ERRORS, "PSNR", *SHOWN, *LOOKS, "calls", "CPU s"], "cascade, Euler", "whole"),
    "windows": (
        "Windows: error to dense attention at the same Euler steps; total: to the finer run",
        ["density", "coverage", *ERRORS, "total", "CPU s"],
        "paper 50%",
        "whole",
    ),
    "orders": ("Solver at 10 calls", [*ERRORS, "calls", "CPU s"], EULER, "whole"),
    "calls": ("Solver by model calls", ERRORS, None, "whole"),
    "left": ("t_i, of 50 steps", [*SHOWN, *LOOKS, "calls", "CPU s"], None, "prompt"),
    "paper case": ("The paper's case, t_i = 30 of 50", CASE, ENLARGED, "ragged"),
    "paper case, larger": (
        f"The paper's case from the largest size known, {LARGEST_KNOWN}² to {2 * LARGEST_KNOWN}²",
        CASE,
        ENLARGED,
        "ragged",
    ),
    "chain": ("Four times the size", [*SHOWN, *LOOKS, "density", "calls", "CPU s"], JUMP, "LR PSNR"),
}
PROMPT_BAR = ("prompt", "single")


def paired(seeds: list[Rows], column: str, first: str, second: str) -> torch.Tensor:
    """first minus second of one column, for the seeds that have both."""
    return torch.tensor(
        [
            rows[first][column] - rows[second][column]
            for rows in seeds
            if all(column in rows.get(name, {}) for name in (first, second))
        ]
    )


SECONDS = "CPU s"


def table_of(name: str, seeds: list[Rows]) -> Table:
    """Means of every row, and its paired difference to the baseline where the table has one."""
    title, columns, baseline, compared = LAYOUTS[name]
    names = list(dict.fromkeys(row for rows in seeds for row in rows))
    present = [c for c in columns if any(c in rows.get(row, {}) for rows in seeds for row in names)]
    if any(len({SECONDS in rows[row] for rows in seeds if row in rows}) > 1 for row in names):
        present.remove(SECONDS)  # a GPU made some of the seeds
    compare = [f"{compared} minus {baseline}", "95 % interval"] if baseline else []
    table = Table(title, ["run", *present, *compare])
    for row in names:
        cells: list[object] = []
        for column in present:
            values = [rows[row][column] for rows in seeds if column in rows.get(row, {})]
            cells.append(sum(values) / len(values) if values else "")
        if baseline:
            difference = paired(seeds, compared, row, baseline)
            if len(difference):
                mean, low, high = mean_interval(difference)
                cells += [mean, f"{low:+.4f} ... {high:+.4f}"]
            else:
                cells += ["", ""]
        table.add(row, *cells)
    fewest = min(sum(name in rows for rows in seeds) for name in names)
    table.note = f"{len(seeds)} held-out seeds" + (
        f", {fewest} in some rows." if fewest < len(seeds) else "."
    )
    return table


def tables_of(measured: Measured) -> list[Table]:
    """Every table that has any rows."""
    return [table_of(name, measured[name]) for name in LAYOUTS if name in measured]


def problems_of(measured: Measured) -> list[str]:
    """A sentence for every bar that the measurements miss."""
    checks: dict[str, Callable[[list[Rows]], list[str]]] = {
        "calls": solver_problems,
        "methods": method_problems,
        "paper case": paper_case_problems,
        "windows": window_problems,
        "chain": chain_problems,
    }
    return [
        problem for name, check in checks.items() if name in measured for problem in check(measured[name])
    ]


def solver_problems(seeds: list[Rows]) -> list[str]:
    """The default solver against Euler and core's samplers at equal model calls."""
    problems = []
    for calls in CALLS:
        ours = f"{DEFAULT}, {calls} calls"
        for rival in (EULER, *RIVALS):
            difference = paired(seeds, "whole", ours, f"{rival}, {calls} calls")
            if not len(difference):
                continue
            mean, _, high = mean_interval(difference)
            if mean > 0:
                problems.append(f"{calls} calls: the default's error is {mean:.2g} above that of {rival}.")
            elif rival == EULER and calls <= 10 and high >= 0:
                problems.append(f"{calls} calls: the default is not surely better than Euler ({high:+.2g}).")
    return problems


def method_problems(seeds: list[Rows]) -> list[str]:
    """S²Flow against the model at the large size, and what skipping adds."""
    problems = []
    for column in PROMPT_BAR:
        difference = paired(seeds, column, ALL_DEFAULTS, DIRECT)
        if len(difference) and mean_interval(difference)[1] <= 0:
            mean = float(difference.mean())
            problems.append(f"{column}: S²Flow minus direct HR is {mean:.2f}, not surely above 0.")
    skipped = paired(seeds, "whole", "our solver, a third skipped", "cascade, our solver")
    euler = [rows["cascade, Euler"]["whole"] for rows in seeds]
    if float(skipped.mean()) > sum(euler) / len(euler):
        problems.append("Skipping a third of the steps adds more error than Euler's.")
    return problems


def chain_problems(seeds: list[Rows]) -> list[str]:
    """The chain must show the prompt and keep the small video's structure no less than one jump does."""
    problems = []
    for column in ("prompt", "LR PSNR"):
        mean, low, high = mean_interval(paired(seeds, column, CHAIN, JUMP))
        if high < 0:
            problems.append(
                f"{column}: the chain is {-mean:.2f} below one jump ({low:+.2f} ... {high:+.2f})."
            )
    return problems


def window_problems(seeds: list[Rows]) -> list[str]:
    """The fixed window must lose to the paper's; at a quarter, the best with tail must match its half."""
    problems = []
    if all("fixed 50%" in rows for rows in seeds):
        mean, low, _ = mean_interval(paired(seeds, "whole", "fixed 50%", "paper 50%"))
        if low <= 0:
            problems.append(f"fixed at 50 % is not surely worse than paper at 50 % ({mean:+.3f}).")
    quarter = [name for name in seeds[0] if name.endswith("25% tail")]
    if quarter:
        best = min(float(paired(seeds, "whole", name, "paper 50%").mean()) for name in quarter)
        if best > 0:
            problems.append(f"The best policy with tail at 25 % is {best:.3f} worse than paper at 50 %.")
    return problems
