"""Factors for positions and attention at a larger size."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2flow_core.attention.rotary import attention_temperature, position_factor, theta_factor

SIDES = st.integers(2, 400)


@given(SIDES, SIDES)
def test_scaled_positions_end_where_the_small_ones_did(low, high):
    assert (high - 1) * position_factor(low, high) == pytest.approx(low - 1)


@given(SIDES, SIDES, st.integers(2, 64).map(lambda half: 2 * half))
def test_the_slowest_rotation_is_stretched_by_the_enlargement(low, high, channels):
    theta = 10_000.0
    slowest = theta ** (-(channels - 2) / channels)
    stretched = (theta * theta_factor(low, high, channels)) ** (-(channels - 2) / channels)
    assert slowest / stretched == pytest.approx(high / low)


def test_temperature_is_one_at_the_trained_size_and_below_it():
    assert attention_temperature(1000, 1000) == 1
    assert attention_temperature(1000, 10) == 1
    # The value that HiFlow's rule gives for Wan at four times the tokens.
    assert attention_temperature(32_760, 131_040) == pytest.approx(math.sqrt(11.7833 / 10.3970), abs=1e-4)


def test_a_single_row_of_tokens_is_left_alone():
    assert position_factor(1, 1) == 1
    assert theta_factor(1, 1, 2) == 1
