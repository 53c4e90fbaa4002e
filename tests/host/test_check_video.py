"""The node reports in words, pairs what it can, and refuses what is no video."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def check(comfy_modules):
    return comfy_modules.node("S2FlowCheckVideo").execute


def moving(frames: int, size: int) -> torch.Tensor:
    """A smooth wave that runs to the right, with fine lines where there is room for them."""
    x = torch.arange(size) / size
    phase = x[None] * 12.0 - torch.arange(frames)[:, None] * 0.4
    picture = 0.5 + 0.2 * phase.sin() + (0.1 * (x * size * 2.2).sin() if size > 64 else 0.0)
    return picture[:, None, :, None].expand(-1, size, -1, 3).contiguous()


def test_the_verdict_comes_first(check):
    result = check(moving(9, 64), moving(9, 128))
    assert result.args[0].splitlines()[0] == "Fine." and result.ui is not None
    assert (
        check(moving(9, 64), moving(9, 128)[:1].expand(9, -1, -1, -1)).args[0].startswith("Look at: frozen.")
    )


def test_another_length_is_paired_and_told(check):
    report = check(moving(9, 64), moving(7, 128)).args[0]
    assert "the small video has 9 frames and the large one 7" in report


@pytest.mark.parametrize(
    ("frames", "message"), [((1, 9), "single picture"), ((18, 9), "batch of several"), ((1, 1), "no video")]
)
def test_what_is_no_video_is_refused(check, frames, message):
    with pytest.raises(ValueError, match=message):
        check(moving(frames[0], 64), moving(frames[1], 128))


def test_nan_is_refused(check):
    broken = moving(9, 128)
    broken[3, 5, 5] = float("nan")
    with pytest.raises(ValueError, match="large holds 3 value"):
        check(moving(9, 64), broken)


def test_other_rates_are_compared_at_the_same_moments(check):
    smooth = moving(17, 128)
    report = check(moving(17, 64)[::2], smooth, fps=32.0, small_fps=16.0).args[0]
    assert "drift" not in report and "16 frames a second are shown at 32" in report


def test_other_proportions_are_refused(check):
    with pytest.raises(ValueError, match="other proportions"):
        check(moving(9, 64), moving(9, 128)[:, :64])
