"""What a mask holds is laid over an estimate, enlarged without new values, and taken apart by video."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s2flow_core.latent.flow import renoise, shifted_sigmas
from s2flow_core.latent.held_latent import HeldLatent, resized_start
from s2flow_core.latent.resample import resize_latent
from s2flow_core.transition.upsample import tail_sigmas

SHAPE = (2, 4, 3, 4, 6)
GIVEN, CLEAN = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))


def first_frame_held(share: float = 0.0) -> HeldLatent:
    """A start image: the first frame of the first video stays, or, with a share, is only drawn to."""
    mask = torch.ones(2, 1, *SHAPE[2:])
    mask[0, :, 0] = share
    return HeldLatent(GIVEN, mask)


def test_the_given_latent_stands_where_it_is_held_and_the_estimate_elsewhere():
    laid = first_frame_held().laid_over(CLEAN)
    assert torch.equal(laid[0, :, 0], GIVEN[0, :, 0])
    assert torch.equal(laid[0, :, 1:], CLEAN[0, :, 1:]) and torch.equal(laid[1], CLEAN[1])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_partly_held_frame_stays_the_mixture_that_the_run_made(share: float):
    held = first_frame_held(share)
    assert torch.equal(held.laid_over(CLEAN), CLEAN)
    assert held.partly[0, :, 0].all() and not held.partly[:, :, 1:].any()
    goal = held.drawn_to(CLEAN)
    assert torch.equal(goal[0, :, 0], GIVEN[0, :, 0]) and torch.equal(goal[:, :, 1:], CLEAN[:, :, 1:])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("sigma", [0.3, 0.9, 1.0])
def test_a_start_is_the_same_state_with_the_given_latent_in_it(share: float, sigma: float):
    held = first_frame_held(share)
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))

    def process_in(latent: torch.Tensor) -> torch.Tensor:
        return 3 * latent - 0.5

    def resize(latent: torch.Tensor) -> torch.Tensor:
        return resize_latent(latent, (8, 12))

    latent, lacking = resized_start(CLEAN, held, (8, 12), resize, sigma, process_in)
    assert lacking is not None
    large_noise = resize(noise)
    state = renoise(process_in(latent), large_noise + lacking, sigma)
    expected = renoise(process_in(resize(CLEAN)), large_noise, sigma)
    torch.testing.assert_close(state, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(latent[0, :, 0], resize(GIVEN)[0, :, 0])
    assert (lacking[:, :, 1:] == 0).all()


def test_a_hard_mask_adds_nothing_to_the_noise():
    held = first_frame_held()
    clean = held.laid_over(CLEAN)
    latent, lacking = resized_start(clean, held, SHAPE[-2:], lambda video: video, 0.5, lambda video: video)
    assert lacking is None and latent is clean
    assert resized_start(clean, None, SHAPE[-2:], lambda video: video, 0.5, lambda video: video)[0] is clean


def held_steps(mask: float, sigmas: torch.Tensor, released_at: float) -> int:
    """In how many steps core's Differential Diffusion holds a mask of this value."""
    thresholds = (sigmas[:-1] - released_at) / (sigmas[0] - released_at)
    return int((mask < thresholds).sum())


@pytest.mark.parametrize("snr", ["literal", "snr_matched"])
@pytest.mark.parametrize("steps_left", [1, 4, 9, 12])
@pytest.mark.parametrize("released_at", [0.0, 0.003])
def test_a_mask_that_is_let_go_of_step_by_step_is_let_go_of_at_the_same_steps(
    snr: str, steps_left: int, released_at: float
):
    sigmas = shifted_sigmas(12, 3.0)
    rest = tail_sigmas(sigmas, steps_left, snr, 2.0)
    values = torch.linspace(0, 1, 41)
    mask = values.view(1, 1, 1, 1, -1).expand(1, 1, 3, 4, -1)
    held = HeldLatent(torch.zeros(1, 4, 3, 4, 41), mask, released_at).in_last_steps(sigmas, rest)
    for value, own in zip(values.tolist(), held.mask[0, 0, 0, 0].tolist(), strict=True):
        before = held_steps(value, sigmas, released_at)
        assert held_steps(own, rest, released_at) == max(0, before - (12 - steps_left)), value
    assert torch.equal(held.fully, held.mask < 1) and not held.partly.any()


@given(st.integers(4, 12), st.integers(6, 18))
def test_the_mask_keeps_its_frames_and_its_values_at_any_size(height: int, width: int):
    mask = torch.zeros(1, 1, 3, 4, 6)
    mask[..., 2:] = 0.25
    mask[:, :, 1] = 1.0
    enlarged = HeldLatent(mask, mask).mask_at((height, width))
    assert enlarged.shape == (1, 1, 3, height, width)
    assert set(enlarged.unique().tolist()) == {0.0, 0.25, 1.0}
    assert (enlarged[:, :, 1] == 1).all() and (enlarged[:, :, (0, 2), :, 0] == 0).all()


def test_one_video_keeps_what_is_its_own():
    held = first_frame_held()
    for index in range(2):
        one = held.of_video(index)
        assert torch.equal(one.latent, GIVEN[index : index + 1])
        assert torch.equal(one.mask, held.mask[index : index + 1])
