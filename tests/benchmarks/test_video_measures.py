"""The columns that are read off a video, on renderings whose figures are known."""

from __future__ import annotations

import pytest

from benchmarks.common.video_measures import video_row
from demo.clips.detail import detail_energy
from demo.clips.scenes import draw_scene, render
from demo.vocabulary import Prompt

PROMPT = Prompt("yellow", "square", "down", "grass")


@pytest.mark.parametrize(("times", "close"), [(2, 30), (4, 28)])
def test_a_true_video_has_every_figure_right(times, close):
    scene = draw_scene(3, PROMPT)
    small, large = render(scene, 64), render(scene, 64 * times)
    row = video_row(large, small, PROMPT, detail_energy(large, times))
    assert [row[name] for name in ("prompt", "single", "waves")] == [1, 1, 1]
    assert row["motion"] == pytest.approx(scene.travel, rel=0.1)
    assert row["detail"] == pytest.approx(1)
    assert row["ragged"] == pytest.approx(1, abs=0.12)
    assert row["ghost"] == pytest.approx(1, abs=0.25)
    assert row["blotches"] < 0.02
    assert row["LR PSNR"] > close


def test_a_video_without_an_object_lacks_the_objects_figures():
    ground = render(draw_scene(3, PROMPT), 64)[:, :8, :8].repeat(1, 16, 16, 1)
    row = video_row(ground, ground[:, :64, :64], PROMPT, 1.0)
    assert row["prompt"] == 0
    assert not {"ragged", "ghost"} & set(row)
