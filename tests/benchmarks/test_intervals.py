"""An interval that is called one of 95 % holds the truth in 95 of 100 draws, and is no wider than that."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.common.intervals import mean_interval

TRUTH, DEVIATION, VALUES = 3.0, 2.0, 50


def draws(count: int) -> Tensor:
    """(count, 50) values of a normal distribution."""
    return TRUTH + DEVIATION * torch.randn(count, VALUES, generator=torch.Generator().manual_seed(7))


def test_the_truth_lies_inside_in_95_of_100_draws():
    intervals = [mean_interval(values) for values in draws(200)]
    inside = sum(low <= TRUTH <= high for _, low, high in intervals)
    # The binomial deviation of 200 draws is 1.5 %.
    assert 0.915 <= inside / 200 <= 0.98


def test_the_ends_are_two_standard_errors_from_the_mean():
    """1.96 of them, as for any mean of many values; a level of 90 % would be 1.64, one of 99 % 2.58."""
    widths = []
    for values in draws(20):
        mean, low, high = mean_interval(values)
        assert mean == pytest.approx(float(values.double().mean()))
        error = float(values.double().std(correction=0)) / VALUES**0.5
        widths.append(((high - mean) / error, (mean - low) / error))
    above, below = torch.tensor(widths).mean(dim=0).tolist()
    assert above == pytest.approx(1.96, rel=0.03) and below == pytest.approx(1.96, rel=0.03)


@pytest.mark.parametrize(("level", "errors"), [(0.5, 0.674), (0.8, 1.282), (0.99, 2.576)])
def test_another_level_is_that_of_the_normal_distribution(level: float, errors: float):
    widths = []
    for values in draws(20):
        _, low, high = mean_interval(values, level)
        widths.append((high - low) / 2 / float(values.double().std(correction=0)) * VALUES**0.5)
    assert sum(widths) / len(widths) == pytest.approx(errors, rel=0.04)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=12), st.floats(0.1, 5), st.floats(-5, 5))
@settings(max_examples=30)
def test_the_interval_moves_and_grows_with_the_values(numbers: list[float], scale: float, shift: float):
    values = torch.tensor(numbers, dtype=torch.float64)
    mean, low, high = mean_interval(values)
    assert min(numbers) - 1e-9 <= low <= high <= max(numbers) + 1e-9
    moved = mean_interval(scale * values + shift)
    expected = [scale * end + shift for end in (mean, low, high)]
    assert moved == pytest.approx(expected, abs=1e-6)


def test_equal_values_leave_no_doubt():
    assert mean_interval(torch.full((8,), 0.25)) == (0.25, 0.25, 0.25)
