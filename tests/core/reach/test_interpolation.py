"""Between recorded extents: exact at the knots, straight where no extent is left out, else curved."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s2flow_core.reach.interpolation import interpolation
from s2flow_core.windows.ladder import extent_ladder

LADDER = torch.tensor(extent_ladder((15, 12, 20))[2]).double() / 20
"""1, 2, 3, 4, 5, 6, 8, 10, 13, 17 and 20 of 20 tiles."""

axes = st.integers(1, 60).flatmap(
    lambda count: st.sets(st.integers(1, count), min_size=1).map(
        lambda some: torch.tensor(sorted(some | {count})).double() / count
    )
)


@given(axes)
@settings(max_examples=80)
def test_recorded_values_come_back_and_lines_stay_lines(knots):
    assert torch.allclose(interpolation(knots, knots), torch.eye(len(knots)), atol=1e-6)
    at = torch.linspace(float(knots[0]), 1.0, 33).double()
    weights = interpolation(knots, at).double()
    assert torch.allclose(weights.sum(1), torch.ones(33).double(), atol=1e-5)
    assert torch.allclose(weights @ (2.0 - 3.0 * knots), 2.0 - 3.0 * at, atol=1e-5)


def test_below_the_first_knot_values_fall_to_nothing():
    at = torch.tensor([0.0, 0.0125, 0.025, 0.05]).double()
    assert torch.allclose(interpolation(LADDER, at)[:, 0], torch.tensor([0.0, 0.25, 0.5, 1.0]), atol=1e-6)


def test_neighbouring_extents_are_joined_by_a_straight_line():
    """A head may hold nothing at one extent and everything at the next."""
    jump = (torch.arange(len(LADDER)) >= 2).float()
    at = torch.linspace(0.05, 0.3, 26).double()
    expected = ((at - 0.1) / 0.05).clamp(0.0, 1.0).float()
    assert torch.allclose(interpolation(LADDER, at) @ jump, expected, atol=1e-6)


@pytest.mark.parametrize("width", [0.35, 0.6, 1.0])
def test_where_extents_are_left_out_a_smooth_head_is_met_more_closely_than_by_lines(width):
    def held(share):
        return torch.erf(share / width)

    extents = torch.arange(1, 21).double() / 20
    curve = interpolation(LADDER, extents).double() @ held(LADDER)
    right = torch.searchsorted(LADDER, extents).clamp(1)
    rest = (LADDER[right] - extents) / (LADDER[right] - LADDER[right - 1])
    line = rest * held(LADDER[right - 1]) + (1 - rest) * held(LADDER[right])
    misses = [(values - held(extents)).abs().sum() for values in (curve, line)]
    assert misses[0] <= 0.5 * misses[1]
    assert (curve.diff() >= 0).all()
