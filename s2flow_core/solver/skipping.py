"""Leaving out HR model calls where the LR run shows that little happens.

The LR trajectory is known before HR begins, so it can say in advance at which steps the velocity follows
the line of the steps before. There HR's velocity is forecast instead of computed; the solver takes the
step as usual.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .derivatives import Node
from .low_res_field import LowResField

FORECASTS = ("blend", "low_res")
_MOST_SKIPPED = 0.5
"""No two neighbours are skipped, so more than half of the steps never can be."""


def step_changes(sigmas: Tensor, denoised: Tensor, switch_sigmas: Sequence[float] = ()) -> Tensor:
    """How much each LR step would lose if its velocity were extrapolated from the two steps before, (N,).

    sigmas: (N+1,); denoised: (N, B, C, T, h, w). The root mean square of u_i minus its extrapolation, times
    the length of the step. Infinite where two earlier steps on the same side of every change of model or
    guidance (sigma >= switch_sigma, or below it) do not exist.
    """
    grid = [float(sigma) for sigma in sigmas]
    steps = denoised.shape[0]
    changes = torch.full((steps,), math.inf)
    for i in range(2, steps):
        if any((grid[i] >= switch) != (grid[i - 2] >= switch) for switch in switch_sigmas):
            continue
        # Velocity differences of an Euler run, as in low_res_field.py.
        last_rise = (denoised[i - 1].float() - denoised[i - 2].float()) / -grid[i - 1]
        rise = (denoised[i].float() - denoised[i - 1].float()) / -grid[i]
        growth = (grid[i] - grid[i - 1]) / (grid[i - 1] - grid[i - 2])
        changes[i] = (rise - growth * last_rise).square().mean().sqrt() * (grid[i] - grid[i + 1])
    return changes


def choose_skips(changes: Tensor, share: float) -> Tensor:
    """Which steps to forecast: bool, same shape as `changes` (of the HR run's steps only).

    share: of all steps, 0 to 0.5. The set with the least total change such that no two neighbours are
    skipped and the first two and the last step never are; fewer are chosen where that many do not exist.
    changes: (N,), infinite where a step must be computed. Raises ValueError for another share.
    """
    if not 0 <= share <= _MOST_SKIPPED:
        raise ValueError(f"The share of steps to skip is {share}; choose 0 (off) to {_MOST_SKIPPED}.")
    steps = len(changes)
    costs = [float(change) for change in changes]
    allowed = [2 <= i < steps - 1 and math.isfinite(costs[i]) for i in range(steps)]
    wanted = round(share * steps)
    # Entry k: least cost and choice of k skips among the steps seen one and two steps ago.
    one_behind: list[tuple[float, tuple[int, ...]]] = [(0.0, ()), *[(math.inf, ())] * wanted]
    two_behind = one_behind
    for i in range(steps):
        now = list(one_behind)
        for k in range(1, wanted + 1):
            cost, chosen = two_behind[k - 1]
            if allowed[i] and cost + costs[i] < now[k][0]:
                now[k] = (cost + costs[i], (*chosen, i))
        two_behind, one_behind = one_behind, now
    feasible = [chosen for cost, chosen in one_behind if math.isfinite(cost)]
    skip = torch.zeros(steps, dtype=torch.bool)
    skip[list(feasible[-1])] = True
    return skip


def forecast_velocity(
    past: Sequence[Node], sigma: float, field: LowResField | None = None, method: str = "blend"
) -> Tensor:
    """HR velocity at sigma without a model call, from the last two real calls, newest first.

    method "low_res": `u_prev + U(change of u_LR)`. "blend": only the part gamma of the change that the LR
    record explained over the previous step is taken from it (least squares per video, 0..1); the rest is
    extrapolated. Where there is no record, both are plain extrapolation. Returns the velocities' shape, (B,
    C, T, H, W). Raises ValueError for another method.
    """
    if method not in FORECASTS:
        raise ValueError(f"Unknown forecast '{method}'; choose one of {', '.join(FORECASTS)}.")
    newest, older = past[0], past[1]
    growth = (sigma - newest.sigma) / (newest.sigma - older.sigma)
    seen = newest.velocity - older.velocity
    if field is None or not all(field.usable(s, sigma) for s in (sigma, newest.sigma, older.sigma)):
        return newest.velocity + growth * seen
    rise = field.velocity_at(sigma) - field.velocity_at(newest.sigma)
    if method == "low_res":
        return newest.velocity + rise
    predicted = field.velocity_at(newest.sigma) - field.velocity_at(older.sigma)
    axes = tuple(range(1, seen.ndim))
    power = (predicted * predicted).sum(dim=axes, keepdim=True)
    explained = (predicted * seen).sum(dim=axes, keepdim=True)
    gate = (explained / power.clamp_min(torch.finfo(power.dtype).tiny)).clamp(0, 1)
    return newest.velocity + gate * rise + growth * (seen - gate * predicted)
