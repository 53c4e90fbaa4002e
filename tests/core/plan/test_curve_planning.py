"""The curve over s: of the steps that are taken, rising, and what a plan itself says."""

from __future__ import annotations

import pytest
import torch
from random_plans import LARGE, random_record

from s2flow_core.plan.curve_planning import ASKED, curve_of, curve_steps
from s2flow_core.plan.policies import POLICIES, plan_of, plan_windows, step_weights
from s2flow_core.plan.wanted import Wanted

SIGMAS = torch.linspace(1.0, 0.1, 6)


@pytest.mark.parametrize("policy", POLICIES)
def test_more_is_seen_and_kept_as_s_grows(policy):
    calls = []
    record = random_record(1, steps=6)
    curve = curve_of(record, SIGMAS, LARGE, policy, after_step=lambda: calls.append(1))
    assert curve.s == (*ASKED, 1.0) and curve.density[-1] == curve.coverage[-1] == 1.0
    assert list(curve.density) == sorted(curve.density)
    assert all(density <= s + 1e-6 for s, density in zip(curve.s, curve.density))
    assert len(calls) == curve_steps(record, SIGMAS, policy)


@pytest.mark.parametrize(
    ("first_sigma", "steps"), [(1.0, [0, 2, 5]), (0.5, [3, 4, 5]), (0.2, [5]), (0.0, [0, 2, 5])]
)
def test_it_looks_at_the_steps_that_are_taken(first_sigma, steps):
    record = random_record(2, steps=6)
    curve = curve_of(record, SIGMAS, LARGE, "budget", first_sigma=first_sigma)
    some = torch.tensor(steps)
    for s, density, coverage in zip(ASKED, curve.density, curve.coverage):
        made = plan_windows(record.of_steps(some), SIGMAS[some], LARGE, s, "budget")
        assert (density, coverage) == (made.density, float(made.coverage.mean()))


def test_steps_share_by_their_own_lengths_and_not_by_the_gaps_between_those_looked_at():
    even = torch.linspace(1.0, 0.1, 10)
    sigmas, some = 7 * even / (1 + 6 * even), torch.tensor([0, 4, 9])
    record = random_record(3, steps=10)
    curve = curve_of(record, sigmas, LARGE, "error_run")
    weights = step_weights(sigmas, 1.0)[some]
    for s, coverage in zip(ASKED, curve.coverage):
        made = plan_of(Wanted(record.of_steps(some), LARGE, s, weights), sigmas[some], "error_run")
        assert coverage == float(made.coverage.mean())
    gaps = plan_windows(record.of_steps(some), sigmas[some], LARGE, ASKED[2], "error_run")
    assert curve.coverage[2] != float(gaps.coverage.mean())
