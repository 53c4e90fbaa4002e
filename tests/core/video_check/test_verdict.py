"""A good video is fine, and each fault is found in one that has it, whatever it shows."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import avg_pool2d

from demo.clips.scenes import draw_scene, render
from demo.clips.spoiled import SPOILED
from demo.measure import held_out_cases
from s2flow_core.video_check.measures import luminance, measure, smoothed
from s2flow_core.video_check.verdict import faults_of, report_of

CASES = range(0, 16, 4)


@pytest.fixture(scope="module")
def videos():
    """Renderings of held-out prompts: case -> (large, small)."""
    made = {}
    for case in CASES:
        prompt, seed = held_out_cases(case + 1)[case]
        scene = draw_scene(seed, prompt)
        made[case] = render(scene, 256), render(scene, 128)
    return made


@pytest.mark.parametrize("case", CASES)
def test_a_good_video_is_fine(videos, case):
    measures = measure(*videos[case])
    assert faults_of(measures) == [] and report_of(measures).startswith("Fine.")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", SPOILED)
def test_a_spoiled_video_is_told_by_its_fault(videos, case, way):
    large, small = videos[case]
    name, spoil = SPOILED[way]
    measures = measure(spoil(large, small), small)
    found = [fault.name for fault in faults_of(measures)]
    assert name in found
    assert name in report_of(measures).splitlines()[0]
    if name in ("frozen", "seam", "no detail"):
        assert found == [name]


@pytest.mark.parametrize("long", [100, 130, 160])
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("step", [0.0, 0.04])
def test_a_sharp_line_among_taller_waves_is_a_seam(axis, step, long):
    """The waves are the large video's own, of two lengths, so that some stand out; none of them is sharp."""
    small = torch.full((5, 128, 128, 3), 0.5)
    place = torch.arange(256.0)
    profile = 0.5 + 0.06 * (6.283 * place / long).sin() + 0.03 * (6.283 * place / (0.37 * long)).sin()
    profile[130:] += step
    profile = profile.view(256, 1) if axis == 1 else profile
    large = profile.expand(256, 256)[None, :, :, None].expand(5, -1, -1, 3)
    assert ("seam" in [fault.name for fault in faults_of(measure(large, small))]) is bool(step)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("contrast", [0.1, 0.3, 0.6, -0.4])
@pytest.mark.parametrize("place", [0.0, 0.5, 0.75])
def test_a_horizon_that_the_small_video_shows_is_no_seam(scale, contrast, place):
    """The large video draws it sharp. place: of the horizon within a line of the small video."""
    side, at = 64 * scale, round((32 + place) * scale)
    large = torch.full((5, side, side, 3), 0.5)
    large[:, at:] += 0.5 * contrast
    large[:, :at] -= 0.5 * contrast
    small = avg_pool2d(large.movedim(-1, 1), scale).movedim(1, -1)
    assert "seam" not in [fault.name for fault in faults_of(measure(large, small))]
    large[:, :, side // 2 :] += 0.04
    assert "seam" in [fault.name for fault in faults_of(measure(large, small))]


@pytest.mark.parametrize("red", [0.9, 0.7, 0.1])
def test_what_is_as_bright_as_its_ground_moves_too(red):
    """A green square on sand: only its colour tells that it stands still."""
    blue = 0.5
    green = (0.5 - 0.299 * red - 0.114 * blue) / 0.587
    small = torch.full((9, 64, 64, 3), 0.5)
    for frame in range(9):
        small[frame, 24:40, 4 + 5 * frame : 20 + 5 * frame] = torch.tensor([red, green, blue])
    assert luminance(small).std() < 1e-3
    large = small.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert measure(large, small).motion == pytest.approx(1, abs=0.01)
    still = large[:1].expand_as(large)
    assert [fault.name for fault in faults_of(measure(still, small))] == ["frozen"]


@pytest.mark.parametrize("height", [0.05, 0.1, 0.15])
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize(("place", "step", "seam"), [
    (70, 0.0, False), (66, 0.04, True), (78, 0.04, True), (82, 0.04, True), (70, 0.3, True),
])  # fmt: skip
def test_stripes_that_the_large_video_adds_are_no_seam(height, axis, place, step, seam):
    """As the demo's runs paint them on grounds where the small video shows none.

    A seam along them is found unless it runs where one of them is as steep the other way.
    """
    large = striped(height, axis)
    large[:, place:] += step
    found = [fault.name for fault in faults_of(measure(large, torch.full((5, 64, 64, 3), 0.5)))]
    assert ("seam" in found) is seam


@pytest.mark.parametrize("wide", [4, 5, 6, 8])
@pytest.mark.parametrize("seed", range(3))
def test_steep_waves_of_unequal_heights_are_no_seam(wide, seed):
    """As on sand: each rises over some lines and falls slowly, and the tallest stands out; a seam rises over
    one line. wide: lines."""
    generator = torch.Generator().manual_seed(seed)
    rise, fall = torch.linspace(0, 1, wide + 1), torch.linspace(1, 0, 32 - wide)[1:]
    wave = torch.cat([3 * rise**2 - 2 * rise**3, fall])  # (32,)
    heights = 0.03 + 0.12 * torch.rand(8, generator=generator)
    lines = 0.4 + (heights[:, None] * wave).flatten()  # (256,)
    large = lines.view(256, 1).expand(256, 256)[None, :, :, None].expand(5, -1, -1, 3).clone()
    small = (
        avg_pool2d(large.movedim(-1, 1), 2).movedim(1, -1).mean(dim=1, keepdim=True).expand(-1, 128, -1, -1)
    )
    assert "seam" not in [fault.name for fault in faults_of(measure(large, small))]
    large[:, 205:] += 0.04
    assert "seam" in [fault.name for fault in faults_of(measure(large, small))]


def striped(height: float, axis: int) -> torch.Tensor:
    lines = 0.5 + height * (torch.arange(128) * 0.4).sin()
    stripes = lines.view(128, 1).expand(128, 128) if axis == 1 else lines.expand(128, 128)
    return stripes[None, :, :, None].expand(5, -1, -1, 3).clone()


def test_repetition_counts_by_what_the_small_video_leaves():
    """Waves repeat in the small video already: a large one that is wholly alike shows it all the same."""
    generator = torch.Generator().manual_seed(0)
    once = torch.rand(5, 64, 64, 3, generator=generator)
    assert measure(once.repeat(1, 2, 2, 1), once).repetition == pytest.approx(1.0, abs=0.02)
    assert measure(torch.rand(5, 128, 128, 3, generator=generator), once).repetition < 0.1


@pytest.mark.parametrize("motion", [0.0, 0.00005])
def test_a_still_video_is_not_frozen(motion):
    """The small one does not move either."""
    generator = torch.Generator().manual_seed(0)
    still = torch.rand(1, 48, 64, 3, generator=generator) + motion * torch.arange(9)[:, None, None, None]
    assert "frozen" not in [fault.name for fault in faults_of(measure(still, still))]


def test_of_equal_size_no_detail_is_asked(videos):
    large, _ = videos[0]
    measures = measure(large, large)
    assert measures.detail is None and report_of(measures).startswith("Fine.")


def test_transparency_is_left_out(videos):
    large, small = videos[0]
    opaque = [torch.cat([video, torch.ones(*video.shape[:3], 1)], dim=-1) for video in (large, small)]
    assert measure(opaque[0], opaque[1]) == measure(large, small)


def test_smoothing_axis_by_axis_is_the_mean_of_squares():
    frames = torch.rand(2, 20, 31, generator=torch.Generator().manual_seed(0))
    for side in (3, 7):
        both = avg_pool2d(frames[:, None], side, 1, side // 2, count_include_pad=False)[:, 0]
        torch.testing.assert_close(smoothed(frames, side), both)


@pytest.mark.parametrize("size", [(96, 160), (192, 320), (150, 250)])
def test_any_proportion_and_enlargement_can_be_measured(size):
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(5, 96, 160, 3, generator=generator)
    measures = measure(torch.rand(5, *size, 3, generator=generator), small)
    known = [value for value in vars(measures).values() if value is not None]
    assert all(torch.tensor(known).isfinite())


@pytest.mark.parametrize(
    ("frames", "size", "message"),
    [((5, 4), 32, "5 and 4 frames"), ((2, 2), 32, "no video"), ((5, 5), 128, "larger than the large")],
)
def test_what_cannot_be_compared_is_refused(frames, size, message):
    with pytest.raises(ValueError, match=message):
        measure(torch.zeros(frames[0], 64, 64, 3), torch.zeros(frames[1], size, size, 3))
