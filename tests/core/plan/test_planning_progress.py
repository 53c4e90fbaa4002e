"""Planning tells of every step that is done, and stops where its caller wants to stop."""

from __future__ import annotations

import pytest
import torch

from s2flow_core.plan.policies import POLICIES, plan_windows, planning_steps, step_weights
from s2flow_core.plan.same_volume import paper_windows
from s2flow_core.plan.wanted import Wanted
from s2flow_core.reach.record import AttentionReach
from s2flow_core.windows.extents import axis_shares, candidate_extents, extent_shares
from s2flow_core.windows.grid import TokenGrid

STEPS = 4
GRID = TokenGrid((4, 16, 16), (1, 4, 4))


def record() -> AttentionReach:
    generator = torch.Generator().manual_seed(3)
    mass, error = torch.rand(2, STEPS, 2, 3, 4, 4, 4, generator=generator)
    for axis in (-1, -2, -3):
        mass, error = mass.cumsum(axis), error.flip(axis).cumsum(axis).flip(axis)
    mass = mass / mass[..., -1:, -1:, -1:]
    return AttentionReach(mass.half(), (4, 8, 8), (1, 2, 2), error.half())


SIGMAS = torch.linspace(1, 0.25, STEPS)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("density", [0.3, 1.0])
def test_every_step_of_every_pass_is_told(policy: str, density: float):
    told: list[None] = []
    plan = plan_windows(record(), SIGMAS, GRID, density, policy, after_step=lambda: told.append(None))
    assert len(told) == planning_steps(record(), policy)
    silent = plan_windows(record(), SIGMAS, GRID, density, policy)
    assert torch.equal(plan.extents, silent.extents) and torch.equal(plan.coverage, silent.coverage)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_planning_stops_within_one_step(policy: str, stop_after: int):
    told: list[None] = []

    def stop() -> None:
        told.append(None)
        if len(told) == stop_after:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        plan_windows(record(), SIGMAS, GRID, 0.3, policy, after_step=stop)
    assert len(told) == stop_after


@pytest.mark.parametrize("density", [0.1, 0.3, 0.6])
def test_the_papers_windows_step_by_step_are_those_of_all_steps_at_once(density: float):
    reach = record()
    candidates = candidate_extents(GRID.tiles, density, axis_shares(GRID))
    coverage = reach.coverage(extent_shares(GRID, candidates))  # (steps, layers, heads, J)
    chosen = [coverage[0].argmax(dim=-1)]
    for now in coverage[1:]:
        before = chosen[-1][..., None]
        chosen.append(now.scatter_add(-1, before, torch.full(before.shape, 1e-3)).argmax(dim=-1))
    assert torch.equal(
        paper_windows(Wanted(reach, GRID, density, step_weights(SIGMAS, 1.0))),
        candidates[torch.stack(chosen)],
    )
