"""How long the large run takes, from the seconds of the small one and from the work that is counted.

What is measured in the small run is split into attention and the rest. The rest grows with the tokens, the
attention with the pairs of queries and keys that are computed, which windows make fewer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..plan.window_plan import WindowPlan
from ..trajectory.step_seconds import StepSeconds
from ..windows.grid import Triple


@dataclass(frozen=True)
class Forecast:
    """seconds: of a step of the small run. small: its tokens as attention sees them, (T, H, W). tokens: of
    the large run, likewise. tail: tiles whose means are seen beside the windows, 0 without."""

    seconds: StepSeconds
    small: Triple
    tokens: int
    tail: int

    @classmethod
    def of(cls, seconds: StepSeconds, small: Triple, plan: WindowPlan) -> Forecast:
        return cls(seconds, small, plan.grid.tokens, plan.grid.tile_count if plan.tail else 0)

    def step(self, density: float) -> float:
        """Seconds of one large step in which queries see this share of the video's keys, 0...1."""
        growth = self.tokens / math.prod(self.small)
        seen = density + self.tail / self.tokens if density < 1 else 1.0
        return growth * self.seconds.rest + growth**2 * min(seen, 1.0) * self.seconds.attention

    def speedup(self, density: float) -> float:
        """Times faster than without windows."""
        return self.step(1.0) / max(self.step(density), 1e-9)


def density_of_run(plan: WindowPlan, sigmas: Sequence[float]) -> float:
    """Mean density of the windows that a run over these sigmas (N+1,) looks up; steps without windows are
    dense. Without sigmas, of every recorded step."""
    if len(sigmas) < 2:
        return plan.density
    steps = [plan.step_at(sigma) for sigma in sigmas[:-1]]
    return sum(1.0 if step is None else plan.density_of_step(step) for step in steps) / len(steps)


def time_in_words(seconds: float) -> str:
    """ "40 s", "12 min", "1 h 20 min" """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
