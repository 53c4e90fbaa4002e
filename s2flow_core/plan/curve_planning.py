"""A few plans of a few steps at other values of s."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..reach.record import AttentionReach
from ..windows.grid import TokenGrid
from .curve import Curve
from .policies import plan_of, planning_steps, step_weights
from .wanted import Progress, Wanted, nothing

ASKED = (0.1, 0.2, 0.35, 0.5, 0.7)
"""Values of s that are planned; at 1 everything is seen."""

_LOOKED_AT = 3
"""Steps of those that are taken: neighbours differ little, and planning all for every s takes long."""


def curve_of(
    reach: AttentionReach,
    sigmas: Tensor,
    grid: TokenGrid,
    policy: str,
    tail: bool = False,
    first_sigma: float = math.inf,
    after_step: Progress = nothing,
) -> Curve:
    """Plans for `ASKED` and some of the steps that a run from `first_sigma` takes; arguments as of
    `plan_windows`. Calls after_step `curve_steps` times."""
    some = _some_steps(sigmas, first_sigma)
    record, at = reach.of_steps(some), sigmas[some]
    weights = step_weights(sigmas, first_sigma)[some]  # the gaps between some steps are not their lengths
    plans = [plan_of(Wanted(record, grid, s, weights, tail, after_step), at, policy) for s in ASKED]
    return Curve(
        s=(*ASKED, 1.0),
        density=(*(plan.density for plan in plans), 1.0),
        coverage=(*(float(plan.coverage.mean()) for plan in plans), 1.0),
    )


def curve_steps(reach: AttentionReach, sigmas: Tensor, policy: str, first_sigma: float = math.inf) -> int:
    """How often `curve_of` calls its after_step."""
    return len(ASKED) * planning_steps(reach.of_steps(_some_steps(sigmas, first_sigma)), policy)


def _some_steps(sigmas: Tensor, first_sigma: float) -> Tensor:
    """(M,) positions of steps from `first_sigma` on, spread evenly; of all where none is left."""
    taken = (sigmas <= first_sigma + 1e-4).nonzero().flatten()
    taken = taken if len(taken) else torch.arange(len(sigmas))
    picks = torch.linspace(0, len(taken) - 1, min(_LOOKED_AT, len(taken))).round().long()
    return taken[picks]
