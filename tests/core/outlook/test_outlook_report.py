"""The report says first what it costs, then one verdict, then the details."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from random_plans import plan, random_record

from s2flow_core.outlook.forecast import Forecast
from s2flow_core.outlook.report import LargeRun, report_of, verdict_of
from s2flow_core.plan.curve import Curve
from s2flow_core.trajectory.step_seconds import StepSeconds

CURVE = Curve((0.1, 0.2, 0.35, 0.5, 0.7, 1.0), (0.1, 0.2, 0.3, 0.5, 0.7, 1.0), (0.2, 0.4, 0.5, 0.6, 0.8, 1.0))
FORECAST = Forecast(StepSeconds(10.0, 6.0, 1.0), (5, 8, 8), 1280, 0)


def covering(share: float, s: float):
    made = plan(random_record(0), s)
    return replace(made, coverage=torch.full_like(made.coverage, share))


@pytest.mark.parametrize(
    ("share", "s", "verdict"),
    [
        (0.86, 0.3, "fine"),
        (0.95, 0.1, "fine"),
        (0.84, 0.35, "raise s to .8"),
        (0.2, 0.1, "raise s to .8"),
        (0.84, 0.8, "raise s to .85"),  # the curve says .8, which did not suffice
        (0.1, 1.0, "raise s to 1"),
    ],
)
def test_the_verdict_follows_what_is_kept(share, s, verdict):
    assert verdict_of(covering(share, s), CURVE) == verdict


@pytest.mark.parametrize(
    ("first", "kept", "verdict"),
    [(0, 0.64, "raise s to .8"), (1, 0.86, "fine"), (2, 0.75, "raise s to .8")],
)
def test_the_verdict_is_of_the_steps_that_the_large_run_takes(first: int, kept: float, verdict: str):
    made = covering(1.0, 0.45)
    coverage = made.coverage * torch.tensor([0.2, 0.97, 0.75])[:, None, None]
    made = replace(made, coverage=coverage, first_taken=first)
    assert made.kept == pytest.approx(kept, rel=1e-4) and verdict_of(made, CURVE) == verdict


def test_the_details_are_of_the_steps_that_the_large_run_takes():
    made = covering(0.9, 0.5)
    made.coverage[0], made.coverage[2, 1, 3] = 0.1, 0.25
    details = replace(made, first_taken=1).report()
    assert details.startswith("Of steps 2 to 3: Attention looks at ")
    assert "the head that loses most keeps 25.0% (step 3 of 3, layer 2, head 4)" in details
    assert "keeps 10.0% (step 1 of 3, " in made.report()


def test_the_curve_is_read_between_its_points():
    assert [CURVE.s_for(kept) for kept in (0.1, 0.3, 0.4, 0.5, 0.8, 0.81, 1.0)] == [
        0.1, 0.15, 0.2, 0.35, 0.7, 0.75, 1.0,
    ]  # fmt: skip
    assert Curve((0.1, 1.0), (0.1, 1.0), (0.2, 0.9)).s_for(0.95) == 1.0


@pytest.mark.parametrize(
    ("density", "steps", "said"),
    [
        (0.5, 30, "30 steps, density 50%: about 1.8 times faster than dense, about 30 min left."),
        (1.0, 1, "1 step, density 100%: as slow as dense, about 2 min left."),
        (0.5, None, "2560×1536, density 50%: about 1.8 times faster than dense, about 60 s a step."),
    ],
)
def test_the_first_line_is_what_it_costs(density, steps, said):
    made = covering(0.9, 0.5)
    lines = report_of(LargeRun(made, density, steps, "2560×1536", CURVE, FORECAST)).splitlines()
    assert lines[0].startswith("2560×1536, ") and lines[0].endswith(said)
    assert lines[1] == "Verdict: fine."
    assert "\n".join(lines[2:]) == made.report()


def test_a_run_that_was_not_timed_says_so():
    text = report_of(LargeRun(covering(0.9, 0.5), 0.5, 12, "256×256", CURVE, None))
    assert text.splitlines()[0] == (
        "256×256, 12 steps, density 50%: how long it takes is not known, because the small run was not timed."
    )
