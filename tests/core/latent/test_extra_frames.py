"""References and guides in a latent are clips of their own: taken apart, changed one by one, joined again."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from s2flow_core.latent.extra_frames import NO_EXTRA_FRAMES, ExtraFrames

CLIPS = st.lists(st.integers(1, 3), max_size=2).map(tuple)


def numbered(frames: int) -> Tensor:
    """(1, 2, T, 1, 1) whose values are the numbers of its frames."""
    return torch.arange(float(frames)).view(1, 1, -1, 1, 1).expand(1, 2, -1, 1, 1)


def numbers(latent: Tensor) -> list[float]:
    return latent[0, 0, :, 0, 0].tolist()


@given(CLIPS, st.integers(1, 4), CLIPS)
def test_every_clip_stands_alone_and_all_together_are_the_latent(before, video, behind):
    extra = ExtraFrames(before, behind)
    latent = numbered(sum(before) + video + sum(behind))
    lengths = [clip.shape[2] for clip in extra.clips(latent)]
    assert lengths == [*before, video, *behind]
    assert numbers(extra.video(latent)) == list(range(sum(before), sum(before) + video))
    assert torch.equal(extra.of_each(latent, lambda clip: clip), latent)


@given(CLIPS, st.integers(1, 4), CLIPS)
def test_what_mixes_frames_mixes_them_within_a_clip_alone(before, video, behind):
    """The stand-in for a causal VAE: every frame becomes the sum of those before it."""
    extra = ExtraFrames(before, behind)
    latent = numbered(sum(before) + video + sum(behind))
    mixed = extra.of_each(latent, lambda clip: clip.cumsum(dim=2))
    assert torch.equal(extra.video(mixed), extra.video(latent).cumsum(dim=2))


def test_without_extra_frames_nothing_is_copied():
    latent = numbered(3)
    assert NO_EXTRA_FRAMES.of_each(latent, lambda clip: clip) is latent
    assert not NO_EXTRA_FRAMES and ExtraFrames(behind=(1,))


@pytest.mark.parametrize(
    ("known", "trim", "before"),
    [
        ((), None, ()),
        ((1,), None, (1,)),
        ((1, 1), 2, (1, 1)),  # what is known of two pictures agrees
        ((), 1, (1,)),
        ((), 2, (2,)),
        ((1,), 0, ()),
        ((1,), 3, (3,)),
    ],
)
def test_a_trim_that_is_given_counts(known, trim, before):
    extra = ExtraFrames(known, (2,)).trimmed_at(trim)
    assert (extra.before, extra.behind) == (before, (2,))


@pytest.mark.parametrize("trim", [-1, -7])
def test_a_negative_trim_is_named(trim):
    with pytest.raises(ValueError, match=f"trim_latent is {trim}; .* 0 or more. Connect trim_latent"):
        NO_EXTRA_FRAMES.trimmed_at(trim)


@pytest.mark.parametrize(("before", "behind", "frames"), [((3,), (), 3), ((9,), (), 3), ((1,), (1, 1), 3)])
def test_a_latent_without_video_left_is_refused(before, behind, frames):
    extra = ExtraFrames(before, behind)
    with pytest.raises(
        ValueError, match=rf"begins with {sum(before)} .* {frames} latent .* no video is left"
    ):
        extra.check(frames)
    with pytest.raises(ValueError, match="no video is left"):
        extra.clips(numbered(frames))
    extra.check(sum(before) + sum(behind) + 1)


@pytest.mark.parametrize("clip", [0, -1])
def test_a_picture_has_a_frame(clip):
    with pytest.raises(ValueError, match=f"of {clip} latent frames cannot be"):
        ExtraFrames(before=(clip,))
