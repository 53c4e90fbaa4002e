"""The plan in the artist's words: what it costs, whether it is enough, and the details."""

from __future__ import annotations

from dataclasses import dataclass

from ..plan.curve import Curve
from ..plan.window_plan import WindowPlan
from .forecast import Forecast, time_in_words

ENOUGH = 0.85
"""Of the attention inside the windows. On the small model the paper's windows keep .90 at its own s of .5
and .81 at .25 (`python -m benchmarks.quality`), where the paper's figures drop."""


@dataclass(frozen=True)
class LargeRun:
    """plan: its windows. density: of the steps that are taken. steps: how many, None if nobody said.
    size: in words. curve: what other values of s would keep. forecast: None where the small run was not
    timed."""

    plan: WindowPlan
    density: float
    steps: int | None
    size: str
    curve: Curve
    forecast: Forecast | None


def report_of(run: LargeRun) -> str:
    """What it costs, one verdict, then the details."""
    return "\n".join([_cost(run), f"Verdict: {verdict_of(run.plan, run.curve)}.", run.plan.report()])


def verdict_of(plan: WindowPlan, curve: Curve) -> str:
    """`fine`, or the value that s should have."""
    if plan.kept >= ENOUGH:
        return "fine"
    wanted = max(curve.s_for(ENOUGH), min(1.0, round(plan.requested_density + 0.05, 2)))
    return f"raise s to {wanted:g}".replace("0.", ".", 1)


def _cost(run: LargeRun) -> str:
    steps = "" if run.steps is None else f", {run.steps} step{'s' if run.steps > 1 else ''}"
    begin = f"{run.size}{steps}, density {run.density:.0%}: "
    if run.forecast is None:
        return begin + "how long it takes is not known, because the small run was not timed."
    step = run.forecast.step(run.density)
    speed = f"about {run.forecast.speedup(run.density):.1f} times faster than dense"
    if run.density == 1:
        speed = "as slow as dense"
    left = f"{time_in_words(step)} a step" if run.steps is None else f"{time_in_words(run.steps * step)} left"
    return begin + f"{speed}, about {left}."
