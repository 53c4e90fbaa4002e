"""What a mask holds is laid over an estimate, enlarged without new values, and taken apart by video."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from s2flow_core.latent.held_latent import HeldLatent

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


@given(st.floats(0, 1))
def test_a_partly_held_frame_lies_between_both(share: float):
    laid = first_frame_held(share).laid_over(CLEAN)
    torch.testing.assert_close(laid[0, :, 0], torch.lerp(GIVEN[0, :, 0], CLEAN[0, :, 0], share))


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
