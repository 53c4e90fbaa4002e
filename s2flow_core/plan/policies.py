"""Reach and sparsity become a plan: one window for every step, layer and head of the high-resolution run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from ..latent.flow import SAME_SIGMA
from ..reach.record import AttentionReach
from ..windows.extents import check_density, extent_shares
from ..windows.grid import TokenGrid
from .same_volume import fixed_windows, paper_windows
from .shared_budget import budget_windows, error_run_windows, error_windows
from .wanted import Progress, Wanted, nothing
from .window_plan import WindowPlan
from .window_table import window_extents, window_index

POLICIES: dict[str, Callable[[Wanted], Tensor]] = {
    "paper": paper_windows,
    "budget": budget_windows,
    "error": error_windows,
    "fixed": fixed_windows,
    "error_run": error_run_windows,
}
PASSES = {"paper": 2, "budget": 3, "error": 3, "fixed": 1, "error_run": 3}
"""How often each policy goes through the steps; the last pass measures what the windows cover."""

BY_ERROR = ("error", "error_run")
"""Policies that weigh heads by what a window costs in output."""

DEFAULT_POLICY = "error"
"""Never surely behind another one at equal density, and a third ahead of `paper` without a tail (`python -m
benchmarks.quality`, windows)."""


def plan_windows(
    reach: AttentionReach,
    sigmas: Tensor,
    grid: TokenGrid,
    density: float,
    policy: str = "paper",
    tail: bool = False,
    after_step: Progress = nothing,
    first_sigma: float = math.inf,
) -> WindowPlan:
    """Choose the window of every step, layer and head of a high-resolution run.

    reach: the LR record; sigmas: (steps,) where it was made; grid: HR tokens and tiles; density: s, 0 < s
    <= 1, the share of the video that the mean query may see (one tile is the least). Policies:

    - paper: per head the candidate of volume s with the greatest coverage (S²Flow Eq. 8-9); between equals
      the previous step's window.
    - budget: windows of different volume, greatest total coverage in each step at the cost of `paper`.
    - error: as budget, but least total output error, with a tail or without; needs a record with `error`.
    - error_run: as error, but the steps share as well; one that moves the video further weighs more.
    - fixed: one shape for all, the nearest to a cube in shares of the grid (the paper's failing ablation).

    after_step: called `planning_steps` times on the way, and may raise to stop. first_sigma: where the large
    run begins, so that no step before it shares with those that are taken. Raises ValueError for a density
    outside (0, 1], an unknown policy, or a record of another length.
    """
    weights = step_weights(sigmas, first_sigma)
    return plan_of(Wanted(reach, grid, density, weights, tail, after_step), sigmas, policy)


def plan_of(wanted: Wanted, sigmas: Tensor, policy: str) -> WindowPlan:
    """`plan_windows` for steps whose weights are given, as where they are only some of a run's."""
    check_density(wanted.density)
    if policy not in POLICIES:
        raise ValueError(f"There is no window policy '{policy}'; choose one of {', '.join(POLICIES)}.")
    if len(sigmas) != wanted.reach.steps:
        raise ValueError(
            f"The attention record holds {wanted.reach.steps} steps, but {len(sigmas)} sigmas were given. "
            "Use the trajectory as the Low-Res Sampler made it."
        )
    extents = POLICIES[policy](wanted)  # (steps, layers, heads, 3)
    return WindowPlan(
        sigmas=sigmas.detach().float().cpu(),
        grid=wanted.grid,
        extents=extents.int(),
        coverage=_coverage_of(wanted, extents),
        policy=policy,
        requested_density=wanted.density,
        tail=wanted.tail,
    )


def planning_steps(reach: AttentionReach, policy: str) -> int:
    """How often `plan_windows` calls `after_step`: once for each recorded step in each of its passes."""
    return reach.steps * PASSES[policy]


def step_weights(sigmas: Tensor, first_sigma: float) -> Tensor:
    """(steps,) float64: the square of each step's length, by which a squared error of its velocity enters the
    video; 0 for steps before `first_sigma`.

    sigmas: (steps,) of the model calls, falling; the last step goes to 0.
    """
    starts = sigmas.detach().double().cpu()
    lengths = starts - torch.cat([starts[1:], starts.new_zeros(1)])
    return torch.where(starts <= first_sigma + SAME_SIGMA, lengths.square(), 0.0)


def _coverage_of(wanted: Wanted, extents: Tensor) -> Tensor:
    """(steps, layers, heads) float32: coverage of the chosen windows, by the record that chose them."""
    grid = wanted.grid
    coverage: list[Tensor] = []
    windows: Tensor  # (distinct windows,)
    which: Tensor  # (layers, heads)
    for step, index in enumerate(window_index(grid, extents)):
        windows, which = cast(Any, index).unique(return_inverse=True)  # torch gives it no types
        of_all = wanted.reach.coverage(extent_shares(grid, window_extents(grid, windows)), step)
        coverage.append(of_all.gather(-1, which[..., None])[..., 0])
        wanted.after_step()
    return torch.stack(coverage)
