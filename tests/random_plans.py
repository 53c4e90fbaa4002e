"""Records of heads of random focus, and plans made from them."""

from __future__ import annotations

import torch
from torch import Tensor

from s2flow_core.plan.policies import plan_windows
from s2flow_core.plan.window_plan import WindowPlan
from s2flow_core.reach.record import AttentionReach
from s2flow_core.windows.grid import TokenGrid

SMALL = TokenGrid((5, 8, 8), (1, 2, 2))

LARGE = TokenGrid((5, 16, 16), (1, 4, 4))


def random_record(seed: int, grid: TokenGrid = SMALL, steps: int = 3, layers: int = 2, heads: int = 4):
    """Heads of random focus: mass of the shells around the query, piled up into boxes."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    focus = rand(steps, layers, heads, 1, 1, 1) * 8
    shells = rand(steps, layers, heads, *grid.tiles) ** focus
    mass, error = shells, rand(steps, layers, heads, *grid.tiles)
    for axis in (3, 4, 5):
        mass = mass.cumsum(axis)
        error = error.flip(axis).cumsum(axis).flip(axis)
    mass = mass / mass[..., -1:, -1:, -1:]
    error = error - error[..., -1:, -1:, -1:]
    return AttentionReach(mass.half(), grid.shape, grid.tile, (error / error.amax()).half())


def plan(
    record: AttentionReach, density: float, policy: str = "paper", grid: TokenGrid = LARGE
) -> WindowPlan:
    return plan_windows(record, torch.linspace(1.0, 0.1, record.steps), grid, density, policy)
