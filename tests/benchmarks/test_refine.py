"""The measures of the refine benchmark, on clips and tracks whose answer is known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from benchmarks.common.tables import Table
from benchmarks.refine.preview import ALL_ROWS, Preview, attention_gflops, layout_error
from benchmarks.refine.refiner import scores
from benchmarks.refine.tables import comparison, means
from demo.clips.observe import Observation
from demo.clips.scenes import TRAIN_SIZE, draw_scene, render
from demo.clips.styles import STYLE
from s2flow_core.latent.resample import resize_video


def seen(track: list[tuple[float, float]], area: float = 0.04, missing: tuple[int, ...] = ()) -> Observation:
    """A clip whose object stands at these places, and is hidden in some frames."""
    frames = tuple(frame for frame in range(len(track)) if frame not in missing)
    return Observation(
        objects=tuple(int(frame in frames) for frame in range(len(track))),
        color="red",
        shape="circle",
        direction="right",
        ground="sand",
        frames=frames,
        track=tuple(track[frame] for frame in frames),
        areas=(area,) * len(frames),
    )


TRACK = [(0.3 + 0.1 * frame, 0.5) for frame in range(5)]


def test_a_clip_that_stands_elsewhere_differs_in_position_alone():
    error = layout_error(seen([(x, y + 0.1) for x, y in TRACK]), seen(TRACK))
    assert error["position"] == pytest.approx(0.1)
    assert error["size"] == error["motion"] == pytest.approx(0.0)
    assert error["layout"] == pytest.approx(0.1 / 3)


def test_a_larger_object_differs_in_size_by_the_root_of_its_area():
    assert layout_error(seen(TRACK, area=0.09), seen(TRACK, area=0.04))["size"] == pytest.approx(0.1)


def test_an_object_that_stands_still_differs_in_motion():
    still = seen([(0.5, 0.5)] * 5)
    # Tracks around their own middles: 0.2, 0.1, 0, 0.1, 0.2 apart.
    assert layout_error(still, seen(TRACK))["motion"] == pytest.approx(0.12)


def test_hidden_frames_are_left_out_and_do_not_shift_the_others():
    error = layout_error(seen(TRACK, missing=(0, 3)), seen(TRACK, missing=(4,)))
    assert error["position"] == error["motion"] == pytest.approx(0.0)


def test_an_object_that_is_never_there_is_as_far_off_as_can_be():
    nothing = seen(TRACK, missing=(0, 1, 2, 3, 4))
    assert set(layout_error(nothing, seen(TRACK)).values()) == {1.0}
    assert set(layout_error(nothing, nothing).values()) == {0.0}


def test_rows_have_names_of_their_own():
    names = [str(preview) for preview in ALL_ROWS]
    assert len(set(names)) == len(names)
    assert str(Preview()) == "10-30, 64², rope none, snr_matched"
    assert str(Preview(0, rope="position")) == "0-40, 64², rope position"


def test_attention_of_half_the_side_is_a_sixteenth():
    assert attention_gflops(TRAIN_SIZE, 4) == pytest.approx(16 * attention_gflops(TRAIN_SIZE // 2, 4))


def test_the_truth_scores_perfectly_and_an_enlarged_clip_lacks_the_fine_band():
    # The finest waves of the ground fall between the pixels of the small size; nothing else is as fine.
    known = replace(STYLE, ground_scale=(1.0, 1.0), cross_octaves=(), light=0.0, joints={})
    scene = draw_scene(5, style=known)
    truth = render(scene, 2 * TRAIN_SIZE)
    perfect = scores(truth, truth)
    assert perfect["fine energy"] == pytest.approx(1.0)
    assert perfect["fine spectrum error"] == 0.0
    assert perfect["fine correlation"] == pytest.approx(1.0, abs=1e-3)
    side = 2 * TRAIN_SIZE
    enlarged = scores(resize_video(render(scene, TRAIN_SIZE), (side, side), "bicubic"), truth)
    assert enlarged["fine energy"] < 0.1
    assert enlarged["fine mismatch"] == pytest.approx(-math.log(enlarged["fine energy"]))
    assert enlarged["fine spectrum error"] > 0.9
    moved = scores(truth.roll(3, dims=2), truth)
    assert moved["fine spectrum error"] < 1e-4 < 1 - moved["fine correlation"]


def test_a_gain_whose_interval_holds_zero_is_no_gain():
    rows = [{"ours": {"error": 1.0 + 0.1 * (seed % 2)}, "other": {"error": 2.0}} for seed in range(8)]
    table = Table("gains", ["gain", "mean", "95 % interval"])
    assert comparison(table, rows, "error", "ours", "other", higher=False) is None
    missed = comparison(table, rows, "error", "ours", "other", higher=True)
    assert missed is not None and missed.startswith("ours is not better than other in error: -0.95")
    torch.testing.assert_close(table.rows[0][1], 0.95)


def test_a_column_that_some_seeds_lack_is_left_out():
    seeds = [{"run": {"error": 1.0, "seconds": 2.0}}, {"run": {"error": 3.0}}]
    table = means("Means", seeds, ["run", "never run"], ["error", "seconds"], "")
    assert table.columns == ["run", "error"]
    assert table.rows == [["run", 2.0]]
