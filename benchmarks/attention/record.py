"""What the small run's record is worth: windows chosen from it, against those from a record of the large run.

The heads are known at every size (`known_heads`), so the true output error of any window can be measured at
the large size, on rows that no record has seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.attention.known_heads import known_heads
from benchmarks.common.tables import Table
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.plan.policies import plan_windows
from s2flow_core.reach.output_error import ReachAndError, measure_reach_and_error
from s2flow_core.reach.record import AttentionReach
from s2flow_core.reach.rows import sample_query_rows
from s2flow_core.windows.grid import TokenGrid, Triple, choose_reach_tile, choose_tile
from s2flow_core.windows.ladder import Knots, every_extent, extent_ladder

SIZES: tuple[tuple[Triple, Triple], ...] = (
    ((21, 30, 52), (21, 60, 104)),
    ((30, 48, 80), (30, 96, 160)),
)
DENSITIES = (0.1, 0.25, 0.5)
MOST_OVER_HIGH_RES = 1.3
_ROWS = 256
_RECORDED_SEED, _TRUE_SEED = 0, 7
_NOTHING_LOST = 1e-5
"""Errors below this are none: their ratio says nothing."""


@dataclass(frozen=True)
class RecordErrors:
    """True output error of the chosen windows, summed over the heads: [density] -> value."""

    from_low_res: dict[float, float]
    from_high_res: dict[float, float]
    paper: dict[float, float]


def record_errors(low: Triple, high: Triple, densities: tuple[float, ...] = DENSITIES) -> RecordErrors:
    """Policy `error` from records of the same run at LR and at HR; `paper` from the LR record."""
    low_grid = TokenGrid(low, choose_reach_tile(low))
    high_grid = TokenGrid(high, choose_tile(high))
    small = _record(low_grid, extent_ladder(low_grid.tiles))
    large = _record(high_grid, every_extent(high_grid.tiles))
    truth = _measured(high_grid, every_extent(high_grid.tiles), _TRUE_SEED).error

    def error_of(record: AttentionReach, density: float, policy: str) -> float:
        plan = plan_windows(record, torch.ones(1), high_grid, density, policy)
        t, h, w = (plan.extents[0, 0].long() - 1).unbind(-1)
        return truth[torch.arange(len(truth)), t, h, w].sum().item()

    return RecordErrors(
        {s: error_of(small, s, "error") for s in densities},
        {s: error_of(large, s, "error") for s in densities},
        {s: error_of(small, s, "paper") for s in densities},
    )


def record_table(sizes: tuple[tuple[Triple, Triple], ...] = SIZES) -> tuple[Table, list[str]]:
    """The table, and a sentence for every size and density at which the LR record falls short."""
    table = Table(
        "Output error of windows on heads of known reach, true at HR",
        ["LR tokens", "HR tokens", "s", "paper", "error", "error from HR's record", "ratio"],
    )
    problems: list[str] = []
    for low, high in sizes:
        found = record_errors(low, high)
        for s, error in found.from_low_res.items():
            best, paper = found.from_high_res[s], found.paper[s]
            table.add("×".join(map(str, low)), "×".join(map(str, high)), s, paper, error, best, error / best)
            if error > max(MOST_OVER_HIGH_RES * best, _NOTHING_LOST) or error > max(paper, _NOTHING_LOST):
                problems.append(f"{high} tokens, s = {s}: the record leaves {error:.2g}, HR's {best:.2g}.")
    return table, problems


def _record(grid: TokenGrid, knots: Knots) -> AttentionReach:
    """One step and layer, as the Low-Res Sampler keeps it."""
    found = _measured(grid, knots, _RECORDED_SEED)
    mass, error, nothing = (
        values.clamp(max=torch.finfo(torch.float16).max).half()[None, None]
        for values in (found.mass, found.error, found.nothing)
    )
    return AttentionReach(mass, grid.shape, grid.tile, error, knots, nothing)


def _measured(grid: TokenGrid, knots: Knots, seed: int) -> ReachAndError:
    heads, sequence = known_heads(grid.shape), VideoSequence(grid, scale=1.0)
    rows = sample_query_rows(grid, _ROWS, seed)
    return measure_reach_and_error(heads.q, heads.k, heads.v, sequence, rows, knots)
