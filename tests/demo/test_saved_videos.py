"""The demo finds the large video and its preview by what a run saved, not by how its workflow is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyui_runner.client import Run
from demo.run_demo.__main__ import large_video, saved_videos
from setup.refusal import Refusal


def run_that_saved(*files: tuple[str, str]) -> Run:
    """files: (name, type) of ComfyUI's history."""
    images = [{"filename": name, "subfolder": "a", "type": kind} for name, kind in files]
    return Run("id", [], {"outputs": {"7": {"images": images}}})


def test_videos_are_named_by_their_prefix_without_what_is_only_shown():
    run = run_that_saved(
        ("large_00001_.mp4", "output"),
        ("large_preview_00012_.mp4", "output"),
        ("large_compare_00001_.mp4", "temp"),
        ("sheet_00001_.png", "output"),
    )
    assert saved_videos(run, Path("out")) == {
        "large": Path("out/a/large_00001_.mp4"),
        "large_preview": Path("out/a/large_preview_00012_.mp4"),
    }


@pytest.mark.parametrize("names", [["b_preview", "b"], ["s2flow", "s2flow_preview", "s2flow_stage1"]])
def test_the_large_video_has_a_preview_beside_it(names: list[str]):
    assert f"{large_video(names)}_preview" in names


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "saved no video, but"),
        (["one", "other"], "saved one, other, but"),
        (["a", "a_preview", "b", "b_preview"], "saved a, a_preview, b, b_preview, but"),
    ],
)
def test_what_cannot_be_shown_is_told_with_what_to_name_it(names: list[str], said: str):
    with pytest.raises(Refusal, match=f"{said}.* filename_prefix NAME and NAME_preview"):
        large_video(names)
