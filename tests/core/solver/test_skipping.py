"""Skips are the cheapest that are allowed, and forecasts are exact where the record tells the truth."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from known_flows import field_of, record_of

from s2flow_core.latent.flow import shifted_sigmas
from s2flow_core.solver.derivatives import Node
from s2flow_core.solver.low_res_field import LowResField
from s2flow_core.solver.skipping import choose_skips, forecast_velocity, step_changes

SIGMAS = torch.linspace(1, 0, 13, dtype=torch.float64)


def past_of(velocity, sigma: float, step: float = 1 / 12) -> list[Node]:
    return [Node(s, torch.full((1, 2), velocity(s)).double()) for s in (sigma + step, sigma + 2 * step)]


@given(st.lists(st.floats(0, 1), min_size=3, max_size=11), st.floats(0, 0.5))
def test_skips_are_the_cheapest_allowed_set(costs: list[float], share: float):
    steps = len(costs)
    skip = choose_skips(torch.tensor(costs, dtype=torch.float64), share)
    chosen = skip.nonzero().flatten().tolist()

    def allowed(steps_skipped: tuple[int, ...]) -> bool:
        return all(b - a > 1 for a, b in itertools.pairwise(steps_skipped))

    # Every allowed set of the largest count; the empty set is always allowed.
    most = round(share * steps)
    by_count = (
        (count, [c for c in itertools.combinations(range(2, steps - 1), count) if allowed(c)])
        for count in range(most, -1, -1)
    )
    count, sets = next((count, sets) for count, sets in by_count if sets)
    least = min(sum(costs[i] for i in candidate) for candidate in sets)
    assert allowed(tuple(chosen)) and len(chosen) == count
    assert sum(costs[i] for i in chosen) == pytest.approx(least)


def test_share_0_skips_nothing_and_unknown_steps_are_never_skipped():
    changes = torch.full((12,), math.inf)
    assert not choose_skips(torch.ones(12), 0.0).any()
    assert not choose_skips(changes, 0.5).any()
    changes[5] = 1.0
    assert choose_skips(changes, 0.5).nonzero().flatten().tolist() == [5]


@pytest.mark.parametrize("share", [-0.1, 0.6, math.nan])
def test_share_out_of_range_is_named(share: float):
    with pytest.raises(ValueError, match=f"skip is {share}"):
        choose_skips(torch.ones(12), share)


def test_changes_measure_what_extrapolation_would_miss():
    straight = step_changes(SIGMAS, record_of(lambda s: 3 * s - 1, SIGMAS))
    assert straight[:2].isinf().all()
    assert straight[2:].max() < 1e-6
    curved = step_changes(SIGMAS, record_of(lambda s: s * s, SIGMAS))
    # Second difference of sigma² is 2h², times the step h.
    torch.testing.assert_close(curved[2:], torch.full((10,), 2 / 12**3), atol=1e-6, rtol=0)


def test_changes_are_unknown_where_the_expert_has_just_changed():
    changes = step_changes(SIGMAS, record_of(lambda s: s * s, SIGMAS), switch_sigmas=(0.5,))
    assert changes.isinf().nonzero().flatten().tolist() == [0, 1, 7, 8]


def test_low_res_forecast_adds_the_recorded_rise():
    sigma = float(SIGMAS[5])
    past = past_of(lambda s: 4.0, sigma)
    forecast = forecast_velocity(past, sigma, field_of(lambda s: s**3, SIGMAS), "low_res")
    rise = sigma**3 - float(SIGMAS[4]) ** 3
    torch.testing.assert_close(forecast, torch.full((1, 2), 4.0 + rise, dtype=torch.float64))


@pytest.mark.parametrize("gain", [1.0, 0.4])
def test_blend_forecast_is_exact_when_hr_follows_a_share_of_the_record(gain: float):
    sigma = float(SIGMAS[5])
    past = past_of(lambda s: gain * s**3 + 2, sigma)
    forecast = forecast_velocity(past, sigma, field_of(lambda s: s**3, SIGMAS))
    torch.testing.assert_close(forecast, torch.full((1, 2), gain * sigma**3 + 2, dtype=torch.float64))


@pytest.mark.parametrize(
    "field", [None, field_of(lambda s: 7.0, SIGMAS), field_of(lambda s: -(s**3), SIGMAS)]
)
def test_blend_forecast_extrapolates_when_the_record_says_nothing_or_the_opposite(field: LowResField | None):
    sigma = float(SIGMAS[5])
    past = past_of(lambda s: s**3, sigma)
    line = 2 * past[0].velocity - past[1].velocity
    torch.testing.assert_close(forecast_velocity(past, sigma, field), line)


def test_forecast_beyond_the_record_extrapolates():
    past = past_of(lambda s: 2 * s, 0.01)
    forecast = forecast_velocity(past, 0.01, field_of(lambda s: s**3, SIGMAS), "low_res")
    torch.testing.assert_close(forecast, torch.full((1, 2), 0.02, dtype=torch.float64))


def test_unknown_forecast_is_named():
    with pytest.raises(ValueError, match="'hold'; choose one of blend, low_res"):
        forecast_velocity(past_of(lambda s: s, 0.5), 0.5, None, "hold")


def test_changes_accept_a_recorded_run():
    sigmas = shifted_sigmas(8, 5.0)
    denoised = torch.randn(8, 1, 4, 3, 4, 4, generator=torch.Generator().manual_seed(0)).half()
    changes = step_changes(sigmas, denoised)
    assert changes.shape == (8,) and changes[2:].isfinite().all() and (changes[2:] > 0).all()
