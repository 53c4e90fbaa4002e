"""Noise reshift: scale 1 is no change, the noise has the variance of a flow, and wrong input is named."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s2flow_core.latent.flow import low_res_sigma, renoise, shifted_sigmas
from s2flow_core.transition.reshift import (
    check_step_of_noise,
    noise_in_state,
    remaining_sigmas,
    reshifted_noise,
    shrink_estimate,
)
from s2flow_core.transition.sizes import shrunk_size

STEPS = 12
SIGMAS = shifted_sigmas(STEPS, 3.0)
SHAPE = (1, 4, 3, 8, 12)
GOAL, START = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))


def denoised_at(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    return GOAL * (1 - 0.5 * sigma) + 0.1 * x


def euler(x: torch.Tensor, sigmas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The state at the end and the last clean estimate."""
    denoised = x
    for sigma, following in pairwise(sigmas):
        denoised = denoised_at(x, sigma)
        x = x + (x - denoised) / sigma * (following - sigma)
    return x, denoised


@given(st.integers(1, STEPS - 1))
def test_scale_1_with_the_same_noise_is_the_unbroken_run(k: int):
    whole, _ = euler(START, SIGMAS)
    state, denoised = euler(START, SIGMAS[: k + 1])
    sigma = float(SIGMAS[k])
    handed_over = state / (1 - sigma)
    noise = reshifted_noise(noise_in_state(handed_over, denoised, sigma), SHAPE, seed=0)
    rest = remaining_sigmas(SIGMAS, k)
    resumed, _ = euler(renoise(shrink_estimate(denoised, SHAPE[-2:]), noise, rest[0]), rest)
    torch.testing.assert_close(resumed, whole, atol=1e-5, rtol=0)


@given(st.integers(1, STEPS - 1), st.sampled_from(["fresh", "consistent"]), st.sampled_from([2.0, 1.6]))
def test_variance_after_renoise_is_that_of_a_flow(k: int, mode: str, factor: float):
    """(1-sigma)²·Var(D_small) + sigma²; the paper's Eq. 2 would give Var(D_small) + sigma²."""
    generator = torch.Generator().manual_seed(k)
    denoised, noise = torch.randn(2, 2, 8, 5, 32, 48, generator=generator)
    denoised = 0.6 * denoised.roll(1, -1) + 0.6 * denoised
    small = shrunk_size((32, 48), (2, 2), 8, 1 / factor) if factor == 2 else (20, 30)
    clean = shrink_estimate(denoised, small)
    fresh = reshifted_noise(noise if mode == "consistent" else None, tuple(clean.shape), seed=k)
    sigma = SIGMAS[k]
    expected = (1 - sigma) ** 2 * clean.var() + sigma**2
    tolerance = 5 * float(sigma) / clean.numel() ** 0.5 * 2
    assert renoise(clean, fresh, sigma).var() == pytest.approx(float(expected), abs=tolerance)


def test_consistent_noise_is_the_scaled_block_mean():
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    small = reshifted_noise(noise, (*SHAPE[:3], 4, 6), seed=0)
    blocks = torch.nn.functional.avg_pool2d(noise.flatten(0, 2)[:, None], 2).view(*SHAPE[:3], 4, 6)
    torch.testing.assert_close(small, 2 * blocks, atol=1e-5, rtol=0)


@given(st.integers(1, STEPS - 1), st.floats(1.0, 4.0))
def test_matched_sigmas_are_the_schedule_of_the_smaller_shift(k: int, factor: float):
    matched = remaining_sigmas(SIGMAS, k, "snr_matched", factor)
    torch.testing.assert_close(matched, shifted_sigmas(STEPS, 3.0 / factor)[k:], atol=1e-6, rtol=0)
    torch.testing.assert_close(matched, low_res_sigma(SIGMAS[k:], factor))
    assert (matched <= SIGMAS[k:] + 1e-6).all()


@pytest.mark.parametrize("k", [0, -2, STEPS, STEPS + 3])
def test_k_outside_the_schedule_is_named(k: int):
    with pytest.raises(ValueError, match=f"k is {k}, but this schedule has {STEPS} steps.*1 to {STEPS - 1}"):
        remaining_sigmas(SIGMAS, k)


@given(st.integers(2, 60), st.floats(1, 8), st.data())
def test_noise_of_another_step_is_named_once_it_is_a_tenth_off(steps: int, shift: float, data):
    """A run that stopped after `ran` steps, read at k, with an exact clean estimate."""
    sigmas = shifted_sigmas(steps, shift)
    k, ran = data.draw(st.integers(1, steps - 1)), data.draw(st.integers(1, steps - 1))
    noise = GOAL / GOAL.std()
    read = noise_in_state(noise * sigmas[ran] / (1 - sigmas[ran]), torch.zeros(SHAPE), float(sigmas[k]))
    if k == ran:
        check_step_of_noise(read, sigmas, k)
    elif not 1 / 1.1 <= read.std() <= 1.1:
        with pytest.raises(ValueError, match=f"k is {k}, but .* stopped after {ran} of these {steps} steps"):
            check_step_of_noise(read, sigmas, k)


@pytest.mark.parametrize("factor", [0.0, 1e4])
def test_what_is_no_noise_of_any_step_is_said(factor: float):
    with pytest.raises(ValueError, match="no step of these sigmas explains"):
        check_step_of_noise(START * factor, SIGMAS, 3)


def test_nan_is_said_before_anything_runs():
    broken = torch.full(SHAPE, float("nan"))
    with pytest.raises(ValueError, match="denoised latent holds"):
        shrink_estimate(broken, (4, 6))
