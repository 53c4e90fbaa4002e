"""The comparison of small and large video: which frames meet, what stands left and right, what is refused."""

from __future__ import annotations

import pytest
import torch

from s2flow_core.comparison import Pairs, comparison_frames, paired_frames

SMALL, LARGE = (8, 12), (16, 24)  # height, width


def numbered(frames: int, size: tuple[int, int]) -> torch.Tensor:
    """Frame n is of brightness n / 40."""
    values = torch.arange(frames, dtype=torch.float32) / 40
    return values[:, None, None, None].expand(frames, *size, 3).contiguous()


def shown(small: torch.Tensor, large: torch.Tensor, mode: str, rate: float = 4.0) -> list[torch.Tensor]:
    pairs = paired_frames((len(small), len(large)), (rate, rate))
    return list(comparison_frames(small, large, mode, pairs, rate))


@pytest.mark.parametrize("frames", [1, 5, 9])
def test_side_by_side_shows_the_same_moment_of_both(frames):
    pictures = shown(numbered(frames, SMALL), numbered(frames, LARGE) + 0.05, "side by side")
    assert len(pictures) == frames
    for n, picture in enumerate(pictures):
        assert picture.shape == (16, 48, 3)
        assert picture[:, :24].sub(n / 40).abs().max() < 1e-5
        assert picture[:, 24:].sub(n / 40 + 0.05).abs().max() < 1e-5


@pytest.mark.parametrize(("frames", "rate", "rounds"), [(4, 4.0, 4), (16, 4.0, 1), (17, 4.0, 1), (5, 8.0, 7)])
def test_a_wipe_crosses_the_picture_and_comes_back_in_whole_rounds(frames, rate, rounds):
    """At the start all is the large video, in the middle all the small one, so that the loop has no jump."""
    pictures = shown(numbered(frames, SMALL), numbered(frames, LARGE) + 0.05, "wipe", rate)
    assert len(pictures) == rounds * frames
    columns = [int((picture[0, :, 0] == 1.0).nonzero()[0]) for picture in pictures]
    assert columns[0] == 0
    assert max(columns) >= 22
    assert columns == sorted(columns[: len(columns) // 2 + 1]) + columns[len(columns) // 2 + 1 :]
    assert columns[-1] <= columns[1] + 1
    for n, (picture, column) in enumerate(zip(pictures, columns)):
        value = n % frames / 40
        assert picture[:, :column].sub(value).abs().sum() < 1e-3
        assert picture[:, column + 1 :].sub(value + 0.05).abs().sum() < 1e-3


def test_rates_meet_at_the_same_moment():
    """12 a second beside 24: every small frame is shown twice."""
    pairs = paired_frames((5, 9), (12, 24))
    assert pairs.small == [0, 0, 1, 2, 2, 2, 3, 4, 4]
    assert pairs.large == list(range(9))
    assert pairs.word == "the small video's 12 frames a second are shown at 24"
    every_second = paired_frames((9, 5), (24, 12))
    assert every_second.small == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(
    ("frames", "rates"), [((81, 162), (16, 32)), ((40, 20), (24, 12)), ((9, 36), (8, 32))]
)
def test_twice_the_frames_at_twice_the_rate_are_one_video(frames, rates):
    """As interpolation makes them."""
    pairs = paired_frames(frames, rates)
    assert len(pairs.large) >= frames[1] - 1 and pairs.small[-1] >= frames[0] - 2


@pytest.mark.parametrize(("frames", "compared"), [((17, 13), 13), ((13, 17), 13)])
def test_the_longer_video_is_cut_and_that_is_said(frames, compared):
    pairs = paired_frames(frames, (16, 16))
    assert pairs.small == pairs.large == list(range(compared))
    assert pairs.word == (
        f"the small video has {frames[0]} frames and the large one {frames[1]}; the first {compared} "
        "are compared"
    )


def test_equal_videos_need_no_word():
    assert paired_frames((17, 17), (16, 16)) == Pairs(list(range(17)), list(range(17)), "")
    assert paired_frames((1, 1), (16, 16)).word == ""


@pytest.mark.parametrize(
    ("frames", "rates", "said"),
    [
        ((1, 17), (16, 16), "small is a single picture and large a video of 17 frames"),
        ((17, 1), (16, 16), "large is a single picture and small a video of 17 frames"),
        ((68, 17), (16, 16), "small holds 68 frames, 4 times the other's 17.*Pick Preview"),
        ((5, 10), (16, 16), "large holds 10 frames, 2 times the other's 5"),
        ((17, 17), (0, 16), "fps is 0"),
    ],
)
def test_what_cannot_be_one_video_is_refused(frames, rates, said):
    with pytest.raises(ValueError, match=said):
        paired_frames(frames, rates)


@pytest.mark.parametrize(
    ("small", "large", "mode", "said"),
    [
        (numbered(3, SMALL), numbered(3, (16, 16)), "wipe", "small is 12x8 and large 16x16.*proportions"),
        (numbered(3, SMALL)[0], numbered(3, LARGE), "wipe", r"small has the shape \(8, 12, 3\)"),
        (numbered(3, SMALL), numbered(3, LARGE)[..., :1], "wipe", r"large has the shape \(3, 16, 24, 1\)"),
        (numbered(3, SMALL), numbered(3, LARGE) * float("nan"), "wipe", "large"),
        (numbered(3, SMALL), numbered(3, LARGE), "blend", "wipe, side by side"),
    ],
    ids=["proportions", "no frames", "no colours", "nan", "mode"],
)
def test_wrong_frames_are_refused(small, large, mode, said):
    pairs = Pairs([0, 1, 2], [0, 1, 2], "")
    with pytest.raises(ValueError, match=said):
        list(comparison_frames(small, large, mode, pairs, 4.0))


def test_sizes_rounded_to_patches_and_an_alpha_channel_are_no_obstacle():
    with_alpha = torch.cat([numbered(2, (9, 13)), torch.zeros(2, 9, 13, 1)], dim=-1)
    (first, *_) = shown(with_alpha, numbered(2, LARGE), "side by side")
    assert first.shape == (16, 48, 3)
