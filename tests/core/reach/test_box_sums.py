"""Sums over boxes are those over the tiles that the boxes hold."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from token_grids import grids

from s2flow_core.reach.box_sums import KnownBoxes, boxes_of_rows
from s2flow_core.reach.rows import sample_query_rows
from s2flow_core.windows.extents import box_start
from s2flow_core.windows.grid import TokenGrid
from s2flow_core.windows.ladder import extent_ladder


@given(grids, st.integers(8, 40), st.integers(0, 999))
@settings(max_examples=30)
def test_a_box_sums_its_tiles(grid, most, seed):
    rows, knots = sample_query_rows(grid, 7, seed), extent_ladder(grid.tiles, most)
    frames, height, width = grid.tiles
    per_tile = torch.randn(len(rows), frames, 2, 3, height * width)
    sums = boxes_of_rows(grid, rows, knots).sums(per_tile)
    assert sums.shape == (len(rows), len(knots[0]), 2, 3, len(knots[1]), len(knots[2]))
    tiles = torch.unflatten(per_tile, 4, (height, width))
    for row, token in enumerate(rows.tolist()):
        t, rest = divmod(token, grid.shape[1] * grid.shape[2])
        place = (t, rest // grid.shape[2], rest % grid.shape[2])
        tile = tuple(p // side for p, side in zip(place, grid.tile, strict=True))
        for i, a in enumerate(knots[0]):
            for j, b in enumerate(knots[1]):
                for k, c in enumerate(knots[2]):
                    x, y, z = box_start(tile, (a, b, c), grid.tiles)
                    inside = tiles[row, x : x + a, :, :, y : y + b, z : z + c].sum(dim=(0, 3, 4))
                    torch.testing.assert_close(sums[row, i, :, :, j, k], inside, atol=1e-4, rtol=1e-4)


def test_known_boxes_are_those_of_the_rows_that_are_asked_for():
    """Of any piece, grid and number of rows; asked for again, the same tensors."""
    known = KnownBoxes()
    grids_and_knots = [
        (grid, extent_ladder(grid.tiles))
        for grid in (TokenGrid((3, 6, 8), (1, 2, 2)), TokenGrid((4, 5, 7), (2, 2, 2)))
    ]
    for grid, knots in grids_and_knots * 2:
        rows = sample_query_rows(grid, 20, 0)
        for some in (rows, rows[::2]):
            for piece in (slice(0, 4), slice(4, 9), slice(0, len(some))):
                found, expected = (
                    known.around(grid, some, piece, knots),
                    boxes_of_rows(grid, some[piece], knots),
                )
                assert torch.equal(found.frames, expected.frames) and torch.equal(found.plane, expected.plane)
                assert known.around(grid, some, piece, knots) is found


def test_boxes_of_many_rows_do_not_fill_the_memory(monkeypatch):
    """What exceeds it is made anew, and is the same."""
    grid = TokenGrid((3, 6, 8), (1, 2, 2))
    knots, rows = extent_ladder(grid.tiles), sample_query_rows(grid, 20, 0)
    first, second = slice(0, 10), slice(10, 20)
    expected = [boxes_of_rows(grid, rows[piece], knots) for piece in (first, second)]
    monkeypatch.setattr("s2flow_core.reach.box_sums.MOST_KEPT_BYTES", expected[0].size_in_bytes)
    known = KnownBoxes()
    for piece, of_piece in zip((first, second), expected, strict=True):
        assert torch.equal(known.around(grid, rows, piece, knots).plane, of_piece.plane)
    kept = [
        known.around(grid, rows, piece, knots) is known.around(grid, rows, piece, knots)
        for piece in (first, second)
    ]
    assert kept == [True, False]
