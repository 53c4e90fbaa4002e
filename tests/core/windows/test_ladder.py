"""A ladder holds every small extent, the whole axis, and no more windows than were asked for."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2flow_core.windows.ladder import MOST_RECORDED, every_extent, extent_ladder

counts = st.tuples(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300))


@given(counts, st.integers(8, 4096))
@settings(max_examples=150)
def test_a_ladder_rises_to_the_whole_axis_and_stays_small(tiles, most):
    knots = extent_ladder(tiles, most)
    assert math.prod(map(len, knots)) <= most
    for extents, count in zip(knots, tiles, strict=True):
        assert extents[0] == 1 and extents[-1] == count
        assert all(low < high for low, high in pairwise(extents))


@given(counts)
@settings(max_examples=100)
def test_the_usual_record_is_fine_where_windows_are_small(tiles):
    knots = extent_ladder(tiles)
    if math.prod(tiles) <= MOST_RECORDED:
        assert knots == every_extent(tiles)
    # The same ratio for all axes: where one of them skips an extent, all that are long enough do.
    skipping = [extents for extents in knots if len(extents) < extents[-1]]
    starts = {extents[: min(map(len, skipping)) - 1] for extents in skipping}
    assert len(starts) <= 1


@pytest.mark.parametrize(
    ("tiles", "first"), [((15, 12, 20), 6), ((11, 8, 13), 9), ((30, 12, 20), 5), ((15, 24, 40), 5)]
)
def test_at_real_sizes_the_first_extents_are_all_recorded(tiles, first):
    for extents, count in zip(extent_ladder(tiles), tiles, strict=True):
        assert extents[: min(first, count)] == tuple(range(1, min(first, count) + 1))
        assert all(high <= 1.5 * low + 1 for low, high in pairwise(extents))


def test_a_record_of_the_papers_run_takes_300_megabytes():
    steps, layers, heads = 50, 60, 24
    windows = math.prod(map(len, extent_ladder((15, 12, 20))))  # 1280x768 in tiles of 2x4x4
    assert steps * layers * heads * (2 * windows + 1) * 2 <= 300e6
