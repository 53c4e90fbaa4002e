"""The node draws what it is given, refuses what the plan does not have, and does without matplotlib."""

from __future__ import annotations

import logging
import sys

import pytest
import torch


@pytest.fixture(scope="module")
def made(graph):
    _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory, t_i=2)
    return trajectory, graph.windows(trajectory, triple[0], s=0.5)


@pytest.fixture
def draw(comfy_modules, monkeypatch):
    module = comfy_modules.pack("nodes.window_pictures")
    monkeypatch.setattr(module.ui, "PreviewImage", lambda image, cls: ("shown", image.shape))
    return comfy_modules.node("S2FlowWindowPictures").execute


def test_it_draws_with_and_without_frames(draw, made):
    trajectory, windows = made
    frames = torch.rand(9, 64, 64, 3)
    for given in ({}, {"frames": frames}, {"frames": frames, "trajectory": trajectory}):
        result = draw(windows, **given)
        assert result.args[0].shape == (1, 800, 1200, 3)
        assert result.ui == ("shown", (1, 800, 1200, 3))


@pytest.mark.parametrize("moment", [0.0, 0.5, 1.0])
def test_the_frame_is_that_of_the_moment(draw, made, moment):
    frames = torch.zeros(9, 32, 32, 3)
    frames[round(moment * 8)] = 1.0
    dark = draw(made[1], frames=torch.zeros(9, 32, 32, 3), moment=moment).args[0]
    assert draw(made[1], frames=frames, moment=moment).args[0].mean() > dark.mean() + 0.05


@pytest.mark.parametrize(("name", "count"), [("layer", 2), ("step", 6)])
def test_what_the_plan_does_not_have_is_refused(draw, made, name, count):
    assert draw(made[1], **{name: count}).args[0].isfinite().all()
    with pytest.raises(ValueError, match=f"{name} is {count + 1}, but these windows have {count}"):
        draw(made[1], **{name: count + 1})


@pytest.mark.parametrize("name", ["across", "down", "moment"])
@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan"), float("inf")])
def test_a_place_outside_the_video_is_refused(draw, made, name, share):
    with pytest.raises(ValueError, match=f"{name} is {share:g}, but a place in the video lies from 0 to 1"):
        draw(made[1], **{name: share})


def test_without_matplotlib_every_head_is_shown_and_the_log_says_why(draw, made, monkeypatch, caplog):
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with caplog.at_level(logging.WARNING):
        picture = draw(made[1]).args[0]
    assert picture.shape[1:] != (800, 1200, 3) and picture.isfinite().all()
    assert "pip install matplotlib" in caplog.text
