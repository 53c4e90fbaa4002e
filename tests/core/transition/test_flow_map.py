"""Flow maps against the published values of FlashVideo and against the arithmetic of the flow."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s2flow_core.latent.flow import renoise
from s2flow_core.transition.flow_map import (
    DEFAULT_GRIDS,
    REFERENCE_STEP,
    degraded,
    flow_map_sigmas,
    reference_signal,
    renoise_sigmas,
)

FLASHVIDEO_SIGMAS = [1.0, 0.909, 0.789, 0.625, 0.385, 0.0]


def test_flashvideo_grid_is_the_six_published_values():
    grid = DEFAULT_GRIDS["flashvideo"]
    sigmas = flow_map_sigmas(grid.steps, grid.shift)
    assert [round(value, 3) for value in sigmas.tolist()] == FLASHVIDEO_SIGMAS


def test_reference_step_675_keeps_the_published_share_of_the_signal():
    signal = reference_signal(REFERENCE_STEP)
    assert signal == pytest.approx(0.264, abs=5e-4)
    assert (1 - signal**2) ** 0.5 == pytest.approx(0.965, abs=5e-4)


def test_reference_schedule_ends_without_signal_and_only_falls():
    signals = [reference_signal(step) for step in range(0, 990, 37)] + [reference_signal(999)]
    assert signals[-1] == 0
    assert all(later < earlier for earlier, later in pairwise(signals))
    assert signals[0] == pytest.approx((1 - 0.00085) ** 0.5)


@pytest.mark.parametrize("step", [-1, 1000])
def test_a_reference_step_outside_the_schedule_is_named(step: int):
    with pytest.raises(ValueError, match=f"reference step is {step}"):
        reference_signal(step)


@given(st.floats(0, 1))
def test_degradation_keeps_unit_variance(signal: float):
    generator = torch.Generator().manual_seed(0)
    latent, noise = torch.randn(2, 200_000, generator=generator)
    assert degraded(latent, noise, signal).var() == pytest.approx(1, abs=0.02)


@given(st.integers(1, 20), st.floats(0.5, 8), st.floats(0.05, 1))
def test_renoise_starts_at_its_strength_and_falls_to_zero(steps: int, shift: float, strength: float):
    sigmas = renoise_sigmas(steps, shift, strength)
    assert len(sigmas) == steps + 1
    assert sigmas[0] == pytest.approx(strength)
    assert sigmas[-1] == 0
    assert (sigmas[1:] < sigmas[:-1]).all()


def test_renoise_from_one_is_the_whole_schedule():
    assert torch.allclose(renoise_sigmas(10, 3.0, 1.0), flow_map_sigmas(10, 3.0))


@pytest.mark.parametrize(("steps", "shift"), [(0, 1.0), (4, 0.0)])
def test_an_impossible_grid_is_named(steps: int, shift: float):
    with pytest.raises(ValueError, match=f"got {steps} steps, shift {shift:g}"):
        flow_map_sigmas(steps, shift)


@given(st.integers(1, 12), st.floats(0.5, 5))
def test_the_true_velocity_leads_from_the_small_latent_to_the_large_one(steps: int, shift: float):
    """Euler along z_LR - z_HR is exact: the path is straight, however many steps it is cut into."""
    generator = torch.Generator().manual_seed(1)
    high, low = torch.randn(2, 64, generator=generator, dtype=torch.float64)
    sigmas = flow_map_sigmas(steps, shift).double()
    x = renoise(high, low, sigmas[0])
    assert torch.allclose(x, low, atol=1e-6)
    for sigma, following in pairwise(sigmas):
        x = x + (low - high) * (following - sigma)
    assert torch.allclose(x, high, atol=1e-5)
