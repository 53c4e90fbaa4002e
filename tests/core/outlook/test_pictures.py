"""The figure shows the windows where they are, and changes with what it shows."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_plans import plan, random_record

from s2flow_core.outlook.forecast import Forecast
from s2flow_core.outlook.pictures import Asked, boxes_over_frame, windows_figure
from s2flow_core.plan.curve import Curve
from s2flow_core.plan.window_plan import WindowPlan
from s2flow_core.trajectory.step_seconds import StepSeconds
from s2flow_core.windows.grid import TokenGrid

CURVE = Curve((0.1, 0.5, 1.0), (0.1, 0.45, 1.0), (0.4, 0.7, 1.0))
FORECAST = Forecast(StepSeconds(10.0, 6.0, 1.0), (5, 8, 8), 1280, 0)
MIDDLE = Asked(0.5, 0.5, 0.5, 1, 1)


def one_window(extent: tuple[int, int, int], grid: TokenGrid) -> WindowPlan:
    extents = torch.tensor([[[extent]]], dtype=torch.int32)
    return WindowPlan(torch.tensor([1.0]), grid, extents, torch.ones(1, 1, 1), "error", 0.5)


@pytest.mark.parametrize(
    ("asked", "box"),
    [
        # Query tile 2 of 4 with extent 2 sees tiles 1 and 2; the corner is pushed inward.
        ((0.5, 0.5, 0.5), (0.25, 0.25, 0.5, 0.5, 0.6)),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.5, 0.5, 0.6)),
        ((1.0, 1.0, 1.0), (0.5, 0.5, 0.5, 0.5, 0.6)),
        ((0.0, 1.0, 0.5), (0.5, 0.0, 0.5, 0.5, 0.6)),
    ],
)
def test_a_box_lies_where_the_query_looks(asked: tuple[float, float, float], box: tuple[float, ...]):
    made = one_window((3, 2, 2), TokenGrid((5, 16, 16), (1, 4, 4)))
    (found,) = boxes_over_frame(made, Asked(*asked, 0, 0))
    assert found == pytest.approx(box)


def test_a_partial_tile_at_the_end_is_as_wide_as_it_is():
    made = one_window((1, 1, 1), TokenGrid((1, 4, 6), (1, 4, 4)))  # two tiles, of 4 and of 2 columns
    (found,) = boxes_over_frame(made, Asked(0.5, 0.9, 0.0, 0, 0))
    assert found == pytest.approx((4 / 6, 0.0, 2 / 6, 1.0, 1.0))


PLACE = st.floats(0, 1)


@given(
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    tile=st.sampled_from([(1, 2, 2), (2, 4, 4), (1, 8, 16), (4, 4, 8)]),
    shares=st.tuples(*[PLACE] * 3),
    place=st.tuples(*[PLACE] * 3),
)
def test_the_place_that_looks_lies_in_its_box(shape: Any, tile: Any, shares: Any, place: Any):
    """Every query sees at least itself, also from a partial tile."""
    grid = TokenGrid(shape, tile)
    t, h, w = (max(1, int(share * tiles)) for share, tiles in zip(shares, grid.tiles, strict=True))
    down, across, _ = place
    ((left, top, width, height, frames),) = boxes_over_frame(
        one_window((t, h, w), grid), Asked(*place, step=0, layer=0)
    )
    assert left - 1e-9 <= across <= left + width + 1e-9 and top - 1e-9 <= down <= top + height + 1e-9
    assert left >= 0 and left + width <= 1 + 1e-9 and top >= 0 and top + height <= 1 + 1e-9
    assert 0 < frames <= 1


def test_the_picture_marks_where_the_large_run_begins():
    made = plan(random_record(0), 0.5)
    marked = [windows_figure(replace(made, first_taken=first), MIDDLE, None, None) for first in (0, 1, 2)]
    assert not any(torch.equal(*pair) for pair in itertools.combinations(marked, 2))


def test_every_drawing_follows_what_it_shows():
    made = replace(plan(random_record(0), 0.5, "budget"), curve=CURVE)
    frame = torch.rand(24, 40, 3, generator=torch.Generator().manual_seed(0))
    pictures = [
        windows_figure(made, MIDDLE, frame, FORECAST),
        windows_figure(made, replace(MIDDLE, across=0.1), frame, FORECAST),
        windows_figure(made, replace(MIDDLE, layer=0), frame, FORECAST),
        windows_figure(made, MIDDLE, None, FORECAST),
        windows_figure(made, MIDDLE, frame, None),
        windows_figure(replace(made, coverage=made.coverage / 2), MIDDLE, frame, FORECAST),
        windows_figure(replace(made, curve=None), MIDDLE, frame, FORECAST),
    ]
    for picture in pictures:
        assert picture.shape == (800, 1200, 3) and 0 <= float(picture.min()) < float(picture.max()) <= 1
    assert not any(torch.equal(*pair) for pair in itertools.combinations(pictures, 2))
    assert torch.equal(pictures[0], windows_figure(made, MIDDLE, frame, FORECAST))
