"""Velocity, denoised, noise and sigma are converted without loss, and sigma lists that cannot be run are
refused."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s2flow_core.latent.flow import (
    boundary_sigma,
    check_sigmas,
    denoised_from_velocity,
    low_res_sigma,
    noise_estimate,
    renoise,
    shifted_sigmas,
    snr_matched_sigma,
    velocity,
)

sigmas_inside = st.floats(0.01, 0.99)
scales = st.floats(1.0, 8.0)


def pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    clean, noise = torch.randn(2, 2, 4, 3, 6, 8, generator=generator, dtype=torch.float64)
    return clean, noise


@given(sigmas_inside)
def test_a_state_gives_back_what_it_was_made_of(sigma: float):
    clean, noise = pair()
    x = renoise(clean, noise, sigma)
    u = velocity(x, clean, sigma)
    torch.testing.assert_close(u, noise - clean)
    torch.testing.assert_close(denoised_from_velocity(x, u, sigma), clean)
    torch.testing.assert_close(noise_estimate(x, clean, sigma), noise)


def test_velocity_promotes_half_precision_as_core_does():
    x, denoised = torch.randn(2, 2, 4, 1, 3, 3).half()
    sigma = torch.tensor(0.3)
    expected = (x - denoised) / sigma[(None,) * x.ndim]
    assert velocity(x, denoised, sigma).dtype == expected.dtype
    assert torch.equal(velocity(x, denoised, sigma), expected)


@given(st.floats(0.0, 1.0), scales)
def test_sigma_matching_round_trip(sigma: float, scale: float):
    value = torch.tensor(sigma, dtype=torch.float64)
    assert low_res_sigma(snr_matched_sigma(value, scale), scale).item() == pytest.approx(sigma, abs=1e-6)
    assert snr_matched_sigma(low_res_sigma(value, scale), scale).item() == pytest.approx(sigma, abs=1e-6)


def test_sigma_matching_round_trip_in_single_precision():
    sigmas = shifted_sigmas(50, 7.0)
    torch.testing.assert_close(low_res_sigma(snr_matched_sigma(sigmas, 2.0), 2.0), sigmas, atol=1e-6, rtol=0)


@given(sigmas_inside, scales)
def test_matching_lowers_log_snr_by_the_log_of_the_scale(sigma: float, scale: float):
    matched = snr_matched_sigma(torch.tensor(sigma, dtype=torch.float64), scale).item()
    drop = math.log((1 - sigma) / sigma) - math.log((1 - matched) / matched)
    assert drop == pytest.approx(math.log(scale), abs=1e-9)


def test_matching_makes_block_means_as_noisy_as_the_low_resolution_state():
    sigma, scale = torch.tensor(0.6, dtype=torch.float64), 4
    matched = snr_matched_sigma(sigma, scale)
    noise_to_signal = (matched / scale) / (1 - matched)  # a block mean divides the noise by the scale
    torch.testing.assert_close(noise_to_signal, sigma / (1 - sigma))


def test_flashvideo_schedule():
    # FlashVideo's second stage, flow_video.py: shift 2.5, 5 steps.
    expected = torch.tensor([1.0, 0.909, 0.789, 0.625, 0.385, 0.0])
    torch.testing.assert_close(shifted_sigmas(5, 2.5), expected, atol=6e-4, rtol=0)


@pytest.mark.parametrize("shift", [1.0, 3.0, 7.0, 12.0])
def test_real_schedules_are_accepted(shift: float):
    check_sigmas(shifted_sigmas(50, shift))
    check_sigmas(shifted_sigmas(50, shift)[20:])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "no step"),
        ([0.0], "no step"),
        ([1.0, 0.5, 0.7, 0.0], "rises at step 2"),
        ([1.0, 0.5, 0.5, 0.0], "repeats at step 2"),
        ([1.0, 0.5, 0.1], "ends at 0.1"),
        ([1.0, math.nan, 0.0], "NaN"),
        ([math.inf, 1.0, 0.0], "infinity"),
        ([14.6, 1.0, 0.0], "starts at 14.6"),
    ],
)
def test_sigmas_that_cannot_be_run_are_named(values: list[float], words: str):
    with pytest.raises(ValueError, match="the HR sigmas") as problem:
        check_sigmas(torch.tensor(values), "the HR sigmas")
    assert words in str(problem.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("boundary", [0.5, 0.6, 0.7, 0.8, 0.833, 0.875, 0.9, 0.95])
@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0, 8.0, 9.0, 12.0])
def test_a_boundary_is_one_number_for_tensors_and_for_floats(
    boundary: float, shift: float, dtype: torch.dtype
):
    """Schedules that hold the boundary, such as shift 9 with .9, once gave its step to both experts."""
    switch = boundary_sigma(boundary)
    for steps in range(2, 51):
        sigmas = shifted_sigmas(steps, shift, dtype)
        by_numbers = sum(float(sigma) >= switch for sigma in sigmas[:-1])
        assert int((sigmas[:-1] >= switch).sum()) == by_numbers
        exact = [step for step in range(steps) if abs(float(sigmas[step]) - boundary) < 1e-6]
        assert all(float(sigmas[step]) >= switch for step in exact)


def test_a_boundary_lies_as_little_below_the_typed_one_as_one_sigma_may_differ():
    for typed in (0.5, 0.7, 0.875, 0.9, 1.0):
        assert typed - 2e-5 < boundary_sigma(typed) < typed
        assert boundary_sigma(typed) == float(torch.tensor(boundary_sigma(typed), dtype=torch.float32))
