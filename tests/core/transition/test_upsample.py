"""The triple (clean latent, sigmas, noise) continues the LR path, and bad requests name what is allowed."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s2flow_core.latent.flow import low_res_sigma, noise_estimate, renoise, shifted_sigmas
from s2flow_core.latent.held_latent import HeldLatent
from s2flow_core.trajectory.recorder import TrajectoryRecorder
from s2flow_core.trajectory.trajectory import ModelIdentity, Trajectory
from s2flow_core.transition.upsample import (
    chosen_steps_left,
    clean_estimate,
    recorded_scale,
    require_recorded_steps,
    step_noise,
    tail_sigmas,
)

STEPS, LOW_H, LOW_W = 10, 30, 52

SIGMAS = shifted_sigmas(STEPS, 5.0)


def run() -> tuple[Trajectory, list[torch.Tensor]]:
    """A record of Euler steps toward a fixed clean latent, and the states it passed through."""
    generator = torch.Generator().manual_seed(0)
    goal, x = torch.randn(2, 1, 4, 3, LOW_H, LOW_W, generator=generator)
    recorder, states = TrajectoryRecorder(torch.float32), []
    for sigma, after in itertools.pairwise(SIGMAS):
        states.append(x)
        denoised = goal * (1 - 0.5 * sigma)
        recorder.record(sigma, denoised, noise_estimate(x, denoised, sigma))
        x = x + (x - denoised) / sigma * (after - sigma)
    model = ModelIdentity("wan2.1", 3, 2, 4, "Wan21")
    return recorder.finish(x, (3, LOW_H // 2, LOW_W // 2), (1, 2, 2), model, 1.0), states


TRAJECTORY, STATES = run()


@given(st.integers(1, STEPS))
def test_the_triple_forms_the_recorded_state(steps_left: int):
    sigma = tail_sigmas(TRAJECTORY.sigmas, steps_left)[0]
    state = renoise(clean_estimate(TRAJECTORY, steps_left), step_noise(TRAJECTORY, steps_left), sigma)
    torch.testing.assert_close(state, STATES[STEPS - steps_left], atol=2e-5, rtol=0)


@given(st.integers(1, STEPS), st.floats(1.0, 4.0))
def test_tail_sigmas(steps_left: int, scale: float):
    literal = tail_sigmas(SIGMAS, steps_left)
    matched = tail_sigmas(SIGMAS, steps_left, "snr_matched", scale)
    assert torch.equal(literal, SIGMAS[-steps_left - 1 :])
    torch.testing.assert_close(low_res_sigma(matched, scale), literal, atol=1e-6, rtol=0)
    assert matched[-1] == 0


def test_final_estimate_is_the_finished_video():
    assert torch.equal(clean_estimate(TRAJECTORY, 3, "final"), TRAJECTORY.final)


@pytest.mark.parametrize("source", ["step", "final"])
def test_what_a_mask_held_stands_in_the_estimate_as_it_was_given(source: str):
    mask = torch.ones(1, 1, 3, LOW_H, LOW_W)
    mask[:, :, 0] = 0
    start = torch.full(TRAJECTORY.latent_shape, 7.0)
    held = dataclasses.replace(TRAJECTORY, held=HeldLatent(start, mask))
    clean = clean_estimate(held, 3, source)
    assert (clean[:, :, 0] == 7).all()
    assert torch.equal(clean[:, :, 1:], clean_estimate(TRAJECTORY, 3, source)[:, :, 1:])


@pytest.mark.parametrize("matched", [False, True])
def test_steps_are_told_by_the_record_they_answer_to(matched: bool):
    sigmas = tail_sigmas(SIGMAS, 4, "snr_matched" if matched else "literal", 2.0)
    assert recorded_scale(sigmas, SIGMAS, 2.0) == (2.0 if matched else 1.0)
    require_recorded_steps(sigmas, SIGMAS, 2.0)
    between = (sigmas[:-1] + sigmas[1:]) / 2
    assert recorded_scale(torch.cat([between, sigmas[-1:]]), SIGMAS, 2.0) == 1.0
    with pytest.raises(ValueError, match="The 3 steps of the High-Res Sampler are not the last steps"):
        require_recorded_steps(between, SIGMAS, 2.0)


@pytest.mark.parametrize("steps_left", [0, -1, STEPS + 1])
def test_steps_left_out_of_range_names_the_range(steps_left: int):
    for use in (clean_estimate, step_noise):
        with pytest.raises(ValueError, match=f"is {steps_left}.*Choose 1 to {STEPS}"):
            use(TRAJECTORY, steps_left)
    with pytest.raises(ValueError, match=f"recorded {STEPS} steps"):
        tail_sigmas(SIGMAS, steps_left)


def test_broken_values_name_their_input():
    denoised = TRAJECTORY.denoised.clone()
    denoised[7, 0, 0, 0, 0, 0] = math.nan
    broken = dataclasses.replace(TRAJECTORY, denoised=denoised, noise=denoised, final=denoised[7])
    with pytest.raises(ValueError, match="clean estimate of LR step 8"):
        clean_estimate(broken, 3)
    with pytest.raises(ValueError, match="noise estimate of LR step 8"):
        step_noise(broken, 3)
    with pytest.raises(ValueError, match="final latent"):
        clean_estimate(broken, 3, "final")
    clean_estimate(broken, 4)


def test_unknown_modes_name_the_choices():
    with pytest.raises(ValueError, match="literal, snr_matched"):
        tail_sigmas(SIGMAS, 3, "squared")
    with pytest.raises(ValueError, match="step, final"):
        clean_estimate(TRAJECTORY, 3, "first")


@pytest.mark.parametrize(
    ("steps", "share", "left"),
    [(50, 0.6, 30), (20, 0.6, 12), (8, 0.6, 5), (4, 0.6, 2), (1, 0.6, 1), (4, 0.05, 1), (30, 1.0, 30)],
)
def test_a_share_fits_every_schedule(steps: int, share: float, left: int):
    assert chosen_steps_left(steps, 0, share) == left
    assert chosen_steps_left(steps, steps, share) == steps


def test_a_number_of_steps_goes_before_the_share_and_has_to_fit():
    assert chosen_steps_left(50, 12, 0.6) == 12
    with pytest.raises(ValueError, match=r"is 30.*recorded 20 steps.*Choose 1 to 20, or 0"):
        chosen_steps_left(20, 30)
    for share in (0.0, -0.5, 1.05):
        with pytest.raises(ValueError, match=f"share is {share:g}"):
            chosen_steps_left(20, 0, share)
