"""The picture of a plan shows the windows that it holds."""

from __future__ import annotations

import pytest
import torch

from s2flow_core.plan.picture import _BACKGROUND, _FRAME, _GAP, _LONG, _SHORT, plan_picture
from s2flow_core.plan.window_plan import WindowPlan
from s2flow_core.windows.grid import TokenGrid

GRID = TokenGrid((4, 8, 16), (1, 2, 2))  # 4x4x8 tiles


def plan_of(extents: torch.Tensor) -> WindowPlan:
    """extents: (steps, layers, heads, 3)."""
    steps = extents.shape[0]
    coverage = torch.ones(extents.shape[:3])
    return WindowPlan(torch.linspace(1, 0.5, steps), GRID, extents.int(), coverage, "paper", 0.5)


def frame_of(picture: torch.Tensor, layer: int, head: int) -> torch.Tensor:
    height, width = 48, 96
    top, left = _GAP + layer * (height + _GAP), _GAP + head * (width + _GAP)
    return picture[top : top + height, left : left + width]


def is_color(pixels: torch.Tensor, color: tuple[float, ...]) -> torch.Tensor:
    return torch.isclose(pixels, torch.tensor(color), atol=1e-5).all(dim=-1)


def test_every_head_has_its_box():
    extents = torch.tensor([[4, 4, 8], [1, 2, 4], [4, 1, 8]]).expand(3, 2, 3, 3).clone()
    picture = plan_picture(plan_of(extents))
    assert picture.shape == (2 * (48 + _GAP) + _GAP, 3 * (96 + _GAP) + _GAP, 3)
    assert is_color(frame_of(picture, 1, 0), _LONG).all()
    quarter = frame_of(picture, 0, 1)
    short_color = tuple(torch.lerp(torch.tensor(_SHORT), torch.tensor(_LONG), 0.25).tolist())
    assert is_color(quarter, short_color).float().mean() == pytest.approx(0.25)
    assert is_color(quarter, _FRAME).float().mean() == pytest.approx(0.75)
    assert is_color(frame_of(picture, 0, 2), _LONG).float().mean() == pytest.approx(0.25)
    assert is_color(picture[:_GAP], _BACKGROUND).all() and is_color(picture[-_GAP:], _BACKGROUND).all()


def test_a_window_that_changes_has_soft_edges():
    extents = torch.tensor([[[[4, 4, 8]]], [[[4, 2, 8]]]])
    frame = frame_of(plan_picture(plan_of(extents)), 0, 0)
    half = (torch.tensor(_LONG) + torch.tensor(_FRAME)) / 2
    assert is_color(frame, tuple(half.tolist())).float().mean() == pytest.approx(0.5)


def test_many_heads_stay_within_a_screen():
    picture = plan_picture(plan_of(torch.ones(1, 40, 40, 3)))
    assert picture.shape[1] <= 1700
