"""Reach and sparsity become a plan: one window for every step, layer and head of the high-resolution run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from ..reach.record import AttentionReach
from ..windows.extents import axis_shares, candidate_extents, check_density, extent_densities, extent_shares
from ..windows.grid import TokenGrid
from .budget import allocate
from .window_plan import WindowPlan

Progress = Callable[[], None]
"""Called after every step of a pass; raises to stop."""

_TIE = 1e-3
"""Coverages this close are equal for half-precision records of sampled rows."""


def _nothing() -> None:
    """Nobody waits."""


def plan_windows(
    reach: AttentionReach,
    sigmas: Tensor,
    grid: TokenGrid,
    density: float,
    policy: str = "paper",
    tail: bool = False,
    after_step: Progress = _nothing,
) -> WindowPlan:
    """Choose the window of every step, layer and head of a high-resolution run.

    reach: the LR record; sigmas: (steps,) where it was made; grid: HR tokens and tiles; density: s, 0 < s
    <= 1, the share of the video that the mean query may see (one tile is the least). Policies:

    - paper: per head the candidate of volume s with the greatest coverage (S²Flow Eq. 8-9); between equals
      the previous step's window.
    - budget: windows of different volume, greatest total coverage in each step at the cost of `paper`.
    - error: as budget, but least total output error; needs a record with `error`.
    - fixed: one shape for all, the nearest to a cube in shares of the grid (the paper's failing ablation).

    after_step: called `planning_steps` times on the way, and may raise to stop. Raises ValueError for a
    density outside (0, 1], an unknown policy, or a record of another length.
    """
    check_density(density)
    if policy not in POLICIES:
        raise ValueError(f"There is no window policy '{policy}'; choose one of {', '.join(POLICIES)}.")
    if len(sigmas) != reach.steps:
        raise ValueError(
            f"The attention record holds {reach.steps} steps, but {len(sigmas)} sigmas were given. Use the "
            "trajectory as the Low-Res Sampler made it."
        )
    extents = POLICIES[policy](reach, grid, density, after_step)  # (steps, layers, heads, 3)
    return WindowPlan(
        sigmas=sigmas.detach().float().cpu(),
        grid=grid,
        extents=extents.int(),
        coverage=_coverage_of(reach, grid, extents, after_step),
        policy=policy,
        requested_density=density,
        tail=tail,
    )


def planning_steps(reach: AttentionReach, policy: str) -> int:
    """How often `plan_windows` calls `after_step`: once for each recorded step in each of its passes."""
    return reach.steps * PASSES[policy]


def paper_windows(
    reach: AttentionReach, grid: TokenGrid, density: float, after_step: Progress = _nothing
) -> Tensor:
    """(steps, layers, heads, 3): argmax of coverage over the candidates of this density (Eq. 8-9)."""
    candidates = candidate_extents(grid.tiles, density, axis_shares(grid))  # (J, 3)
    shares = extent_shares(grid, candidates)
    chosen: list[Tensor] = []
    for step in range(reach.steps):
        coverage = reach.coverage(shares, step)  # (layers, heads, J)
        if chosen:
            before = chosen[-1][..., None]
            coverage = coverage.scatter_add(-1, before, torch.full_like(before, _TIE, dtype=coverage.dtype))
        chosen.append(coverage.argmax(dim=-1))
        after_step()
    return candidates[torch.stack(chosen)]


def budget_windows(
    reach: AttentionReach, grid: TokenGrid, density: float, after_step: Progress = _nothing
) -> Tensor:
    """(steps, layers, heads, 3): greatest total coverage per step, at no more than the cost of `paper`."""
    return _shared_budget(
        reach.coverage_table, paper_windows(reach, grid, density, after_step), grid, after_step
    )


def error_windows(
    reach: AttentionReach, grid: TokenGrid, density: float, after_step: Progress = _nothing
) -> Tensor:
    """(steps, layers, heads, 3): least total output error per step, at no more than the cost of `paper`."""

    def worth(step: int, shares: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return -reach.error_table(step, shares)

    return _shared_budget(worth, paper_windows(reach, grid, density, after_step), grid, after_step)


def fixed_windows(
    reach: AttentionReach, grid: TokenGrid, density: float, after_step: Progress = _nothing
) -> Tensor:
    """(steps, layers, heads, 3): one candidate for all, the nearest to equal shares of the three axes."""
    candidates = candidate_extents(grid.tiles, density, axis_shares(grid))
    distance = (extent_shares(grid, candidates).log() - torch.tensor(density).log() / 3).square().sum(-1)
    return candidates[distance.argmin()].expand(*reach.mass.shape[:3], 3)


POLICIES: dict[str, Callable[[AttentionReach, TokenGrid, float, Progress], Tensor]] = {
    "paper": paper_windows,
    "budget": budget_windows,
    "error": error_windows,
    "fixed": fixed_windows,
}
PASSES = {"paper": 2, "budget": 3, "error": 3, "fixed": 1}
"""How often each policy goes through the steps; the last pass measures what the windows cover."""

DEFAULT_POLICY = "error"
"""Leaves the least error in the large video at equal density (`python -m benchmarks.quality`, windows)."""


def _shared_budget(
    worth: Callable[[int, tuple[Tensor, Tensor, Tensor]], Tensor],
    paper_plan: Tensor,
    grid: TokenGrid,
    after_step: Progress,
) -> Tensor:
    """Every step's heads share what `paper` spends; worth(step, shares) values all windows for all heads."""
    shares = axis_shares(grid)
    cost = extent_densities(grid).flatten()
    planned: list[Tensor] = []
    for step, paper in enumerate(paper_plan):
        value = worth(step, shares).flatten(2).flatten(0, 1)  # (layers*heads, windows)
        baseline = _window_index(grid, paper).flatten()
        planned.append(_window_extents(grid, allocate(value, cost, baseline)).view(paper.shape))
        after_step()
    return torch.stack(planned)


def _window_index(grid: TokenGrid, extents: Tensor) -> Tensor:
    """(..., 3) extents -> (...) position in a flattened (nT, nH, nW) table."""
    _, height, width = grid.tiles
    t, h, w = (extents.long() - 1).unbind(-1)
    return (t * height + h) * width + w


def _window_extents(grid: TokenGrid, index: Tensor) -> Tensor:
    """The reverse of `_window_index`."""
    _, height, width = grid.tiles
    return torch.stack((index // (height * width), index // width % height, index % width), dim=-1) + 1


def _coverage_of(reach: AttentionReach, grid: TokenGrid, extents: Tensor, after_step: Progress) -> Tensor:
    """(steps, layers, heads) float32: coverage of the chosen windows, by the record that chose them."""
    coverage: list[Tensor] = []
    windows: Tensor  # (distinct windows,)
    which: Tensor  # (layers, heads)
    for step, index in enumerate(_window_index(grid, extents)):
        windows, which = cast(Any, index).unique(return_inverse=True)  # torch gives it no types
        of_all = reach.coverage(extent_shares(grid, _window_extents(grid, windows)), step)
        coverage.append(of_all.gather(-1, which[..., None])[..., 0])
        after_step()
    return torch.stack(coverage)
