"""The record gives back the velocities of its run, at its own sigmas and between them."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from known_flows import MEAN, VARIANCE, field_of, gaussian_denoised, record_of, start_noise

from s2flow_core.latent.flow import shifted_sigmas, snr_matched_sigma
from s2flow_core.solver.low_res_field import LowResField, matched_switches


def test_record_gives_back_the_velocities_of_an_euler_run():
    sigmas, x = shifted_sigmas(12, 3.0, torch.float64), start_noise()
    velocities, denoised = [], []
    for sigma, after in itertools.pairwise(sigmas):
        denoised.append(gaussian_denoised(x, sigma))
        velocities.append((x - denoised[-1]) / sigma)
        x = x + velocities[-1] * (after - sigma)
    field = LowResField(sigmas, torch.stack(denoised), lambda difference: difference)
    for i in (4, 5, 3, 11, 0):  # in no order at all
        seen = field.velocity_at(float(sigmas[i])) - field.velocity_at(float(sigmas[4]))
        torch.testing.assert_close(seen, velocities[i] - velocities[4])


@pytest.mark.parametrize("snr_scale", [1.0, 2.0])
def test_field_derivatives_are_exact_for_a_quadratic_velocity(snr_scale: float):
    low = shifted_sigmas(12, 3.0, torch.float64)
    high = snr_matched_sigma(low, snr_scale)
    record = record_of(lambda s: 1 + 2 * s - 3 * s * s, high)  # in HR sigma, which the record does not hold
    field = LowResField(low, record, lambda denoised: denoised, snr_scale=snr_scale)
    sigma = float(high[5])
    first, second = field.derivatives(high[4:7].tolist(), sigma)
    torch.testing.assert_close(first, torch.full((1, 2), 2 - 6 * sigma, dtype=torch.float64))
    torch.testing.assert_close(second, torch.full((1, 2), -6.0, dtype=torch.float64))


@given(st.floats(0.06, 1.0), st.floats(0.06, 1.0))
def test_field_interpolates_between_recorded_steps(a: float, b: float):
    field = field_of(lambda s: 1 - s + s**3, torch.linspace(1, 0, 21, dtype=torch.float64))
    difference = (field.velocity_at(a) - field.velocity_at(b))[0, 0].item()
    assert difference == pytest.approx(a**3 - a - b**3 + b, abs=1e-4)


def test_field_covers_what_was_recorded_and_no_more():
    field = field_of(lambda s: s, shifted_sigmas(10, 1.0, torch.float64))
    assert field.usable(1.0, 0.5) and field.usable(0.1, 0.5)
    assert not field.usable(0.0, 0.1) and not field.usable(0.05, 0.1)
    assert field.sigma_before(0.5) == pytest.approx(0.6)
    assert field.sigma_before(0.55) == pytest.approx(0.6)
    assert field.sigma_before(1.0) is None


def test_field_refuses_a_record_of_another_length():
    with pytest.raises(ValueError, match="3 estimates but 6 sigmas"):
        LowResField(shifted_sigmas(5, 1.0), torch.zeros(3, 1, 2), lambda denoised: denoised)


@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0, 7.0, 9.0])
@pytest.mark.parametrize("scale", [1.0, 1.5, 2.0])
def test_every_boundary_of_a_record_is_read_right_at_matched_sigmas(shift: float, scale: float):
    """A step lies before the change if it did in the LR run, though sigma went through float32 and the
    match."""
    for steps in (4, 8, 20, 50):
        record = shifted_sigmas(steps, shift)
        matched = snr_matched_sigma(record, scale)
        for boundary in range(1, steps):
            (switch,) = matched_switches([float(record[boundary - 1])], scale)
            before = [float(sigma) >= switch for sigma in matched[:-1]]
            assert before == [step < boundary for step in range(steps)]


def exact_record(sigmas):
    """Estimates and velocities (N, 64, 4) on the exact flow of Gaussian data."""
    noise, states = start_noise(), []
    for sigma in sigmas[:-1]:
        scale = ((1 - sigma) ** 2 * VARIANCE + sigma**2).sqrt()
        states.append((1 - sigma) * MEAN + scale * noise)
    denoised = torch.stack([gaussian_denoised(x, sigma) for x, sigma in zip(states, sigmas, strict=False)])
    return denoised, (torch.stack(states) - denoised) / sigmas[:-1, None, None]


def largest_difference(steps: int, euler: bool) -> float:
    """Of the velocity change over one recorded step near sigma = 0.5, relative to that change."""
    sigmas = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    denoised, velocities = exact_record(sigmas)
    field = LowResField(sigmas, denoised, lambda difference: difference, euler=euler)
    i = steps // 2
    seen = field.velocity_at(float(sigmas[i + 1])) - field.velocity_at(float(sigmas[i]))
    return float(
        (seen - (velocities[i + 1] - velocities[i])).norm() / (velocities[i + 1] - velocities[i]).norm()
    )


@pytest.mark.parametrize("steps", [10, 20, 40])
def test_the_record_of_a_better_sampler_is_read_to_the_second_order(steps: int):
    assert largest_difference(steps, euler=False) < largest_difference(steps, euler=True) / 3
    ratio = largest_difference(steps, euler=False) / largest_difference(2 * steps, euler=False)
    assert ratio == pytest.approx(4, rel=0.25)
