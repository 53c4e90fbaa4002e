"""Policies under which heads share one budget: windows of different volume at the cost of `paper`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..windows.extents import axis_shares, extent_densities
from ..windows.grid import TokenGrid
from .budget import HeadCurves, allocate, choose, head_curves, joined
from .same_volume import paper_windows
from .wanted import Wanted
from .window_table import window_extents, window_index

Values = Callable[[int], Tensor]
"""step -> (layers*heads, windows): what each window is worth to each head."""


def budget_windows(wanted: Wanted) -> Tensor:
    """(steps, layers, heads, 3): greatest total coverage per step, at no more than the cost of `paper`."""
    shares = axis_shares(wanted.grid)
    return _shared_by_step(wanted, lambda step: _flat(wanted.reach.coverage_table(step, shares)))


def error_windows(wanted: Wanted) -> Tensor:
    """(steps, layers, heads, 3): least total output error per step, at no more than the cost of `paper`."""
    return _shared_by_step(wanted, _less_error(wanted))


def error_run_windows(wanted: Wanted) -> Tensor:
    """(steps, layers, heads, 3): least weighted output error of the whole run, at no more than its cost under
    `paper`.

    Steps that the large run does not take spend nothing of it; each of them shares what it has by itself.
    """
    grid, values = wanted.grid, _less_error(wanted)
    cost = extent_densities(grid).flatten()
    paper = paper_windows(wanted)
    taken = [step for step in range(wanted.reach.steps) if wanted.weights[step] > 0]
    curves: list[HeadCurves] = []
    windows = torch.empty_like(paper)
    for step, plan in enumerate(paper):
        value = values(step)
        if step in taken:
            curves.append(head_curves(value * wanted.weights[step], cost))
        else:
            baseline = window_index(grid, plan).flatten()
            windows[step] = window_extents(grid, allocate(value, cost, baseline)).view(plan.shape)
        wanted.after_step()
    if taken:
        baseline = window_index(grid, paper[taken])
        chosen = choose(joined(curves), cost[baseline].sum())
        windows[taken] = window_extents(grid, chosen.view(baseline.shape))
    return windows


def _less_error(wanted: Wanted) -> Values:
    shares = axis_shares(wanted.grid)
    return lambda step: -_flat(wanted.reach.error_table(step, shares, wanted.tail))


def _flat(table: Tensor) -> Tensor:
    """(layers, heads, kT, kH, kW) -> (layers*heads, windows)."""
    return table.flatten(2).flatten(0, 1)


def _shared_by_step(wanted: Wanted, values: Values) -> Tensor:
    """Every step's heads share what `paper` spends in it."""
    grid: TokenGrid = wanted.grid
    cost = extent_densities(grid).flatten()
    planned: list[Tensor] = []
    for step, paper in enumerate(paper_windows(wanted)):
        baseline = window_index(grid, paper).flatten()
        planned.append(window_extents(grid, allocate(values(step), cost, baseline)).view(paper.shape))
        wanted.after_step()
    return torch.stack(planned)
