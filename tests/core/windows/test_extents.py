"""Windows are boxes of equal size inside the grid, nested as they grow, and densities count what they
hold."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s2flow_core.windows.extents import (
    axis_covers,
    axis_shares,
    axis_starts,
    box_start,
    candidate_extents,
    computed_pairs,
    extent_densities,
    extent_shares,
    extent_triples,
    seen_pairs,
)
from s2flow_core.windows.grid import TokenGrid, choose_tile

axes = st.integers(1, 24)
tile_counts = st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(1, 7))
densities = st.floats(0.02, 1.0)
grids = st.builds(
    TokenGrid,
    st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
)


@given(axes)
@settings(max_examples=24)
def test_runs_of_an_axis_are_inside_hold_their_query_and_are_nested(tiles: int):
    for extent in range(1, tiles + 1):
        for tile, start in enumerate(axis_starts(tiles, extent)):
            assert 0 <= start <= tile < start + extent <= tiles
            if extent < tiles:
                wider = axis_starts(tiles, extent + 1)[tile]
                assert wider <= start and start + extent <= wider + extent + 1


@given(axes)
@settings(max_examples=24)
def test_interior_runs_are_centred_and_even_ones_reach_one_tile_further_back(tiles: int):
    for extent in range(1, tiles + 1):
        for tile, start in enumerate(axis_starts(tiles, extent)):
            if 0 < start < tiles - extent:
                back, forward = tile - start, start + extent - 1 - tile
                assert back - forward == (0 if extent % 2 else 1)


@given(axes)
@settings(max_examples=24)
def test_cover_table_agrees_with_the_runs(tiles: int):
    table = axis_covers(tiles)
    assert table.shape == (tiles, tiles, tiles)
    for extent, tile in itertools.product(range(1, tiles + 1), range(tiles)):
        start = axis_starts(tiles, extent)[tile]
        assert table[extent - 1, tile].nonzero().flatten().tolist() == list(range(start, start + extent))


@pytest.mark.parametrize(
    ("shape", "most"),
    [
        ((21, 90, 160), 1.115),  # 90 rows fill 5 of 6 tiles of 16, and 11 of 12 of 8
        ((33, 90, 160), 1.10),
        ((31, 44, 80), 1.10),
        # 21 frames are odd, and 60 and 104 hold 4 and 8: tiles of 128 cannot divide them.
        ((21, 60, 104), 1.13),
    ],
)
@pytest.mark.parametrize("density", [0.25, 0.5, 0.75])
def test_partial_tiles_cost_little_work(shape, most, density):
    grid = TokenGrid(shape, choose_tile(shape))
    extents = extent_triples(candidate_extents(grid.tiles, density, axis_shares(grid)))
    computed = sum(computed_pairs(grid, extent) for extent in extents)
    counted = sum(seen_pairs(grid, extent) for extent in extents)
    assert counted <= computed <= most * counted


@given(grids)
@settings(max_examples=40)
def test_pairs_are_counted_with_and_without_padding(grid: TokenGrid):
    t, h, w = (n * side for n, side in zip(grid.tiles, grid.tile, strict=True))
    whole = TokenGrid((t, h, w), grid.tile)
    for extent in ((1, 1, 1), grid.tiles):
        a, b, c = extent
        seen = extent_densities(grid)[a - 1, b - 1, c - 1].item() * grid.tokens**2
        assert seen_pairs(grid, extent) == pytest.approx(seen)
        assert computed_pairs(grid, extent) == seen_pairs(whole, extent)


def test_box_start_of_three_axes():
    assert box_start((0, 5, 9), (3, 4, 20), (15, 12, 20)) == (0, 3, 0)
    assert box_start((14, 11, 19), (3, 4, 5), (15, 12, 20)) == (12, 8, 15)


@given(grids)
@settings(max_examples=40)
def test_densities_count_token_pairs_partial_tiles_included(grid: TokenGrid):
    table = extent_densities(grid)
    a, b, c = extent = tuple(max(1, n // 2) for n in grid.tiles)
    seen = 0
    for t, h, w in itertools.product(*map(range, grid.shape)):
        start = box_start((t // grid.tile[0], h // grid.tile[1], w // grid.tile[2]), (a, b, c), grid.tiles)
        spans = [
            min((s + e) * side, length) - s * side
            for s, e, side, length in zip(start, extent, grid.tile, grid.shape, strict=True)
        ]
        seen += math.prod(spans)
    assert table[a - 1, b - 1, c - 1].item() == pytest.approx(seen / grid.tokens**2)
    assert table[-1, -1, -1].item() == pytest.approx(1.0)


def test_shares_of_full_tiles_are_plain_fractions():
    grid = TokenGrid((30, 96, 160))
    for share, count in zip(axis_shares(grid), grid.tiles, strict=True):
        assert torch.allclose(share, torch.arange(1, count + 1).double() / count)
    shares = extent_shares(grid, torch.tensor([[15, 6, 5]]))
    assert shares.tolist() == [[1.0, 0.5, 0.25]]


@given(tile_counts, densities)
@settings(max_examples=80)
def test_candidates_are_exactly_the_windows_that_cannot_grow(tiles, density):
    found = {tuple(extent) for extent in candidate_extents(tiles, density).tolist()}
    total = math.prod(tiles)

    def fits(extent) -> bool:
        return math.prod(extent) / total <= density + 1e-9

    expected = set()
    for extent in itertools.product(*(range(1, n + 1) for n in tiles)):
        grown = [
            tuple(e + (i == axis) for i, e in enumerate(extent))
            for axis in range(3)
            if extent[axis] < tiles[axis]
        ]
        if fits(extent) and not any(map(fits, grown)):
            expected.add(extent)
    assert found == (expected or {(1, 1, 1)})


def test_candidates_include_windows_that_span_an_axis():
    found = {tuple(extent) for extent in candidate_extents((15, 12, 20), 0.5).tolist()}
    assert {(15, 12, 10), (15, 6, 20), (7, 12, 20)} <= found


def test_candidates_of_an_uneven_grid_are_measured_in_tokens():
    grid = TokenGrid((4, 9, 8), (1, 4, 4))  # the last tile along H holds one row
    candidates = candidate_extents(grid.tiles, 0.5, axis_shares(grid))
    t, h, w = (candidates - 1).unbind(-1)
    assert (extent_densities(grid)[t, h, w] <= 0.5 + 1e-9).all()


def test_the_whole_grid_is_the_only_candidate_of_density_one():
    assert candidate_extents((5, 4, 4), 1.0).tolist() == [[5, 4, 4]]


@pytest.mark.parametrize("density", [0.0, -0.5, 1.01, float("nan")])
def test_impossible_densities_are_refused_in_words(density):
    with pytest.raises(ValueError, match="share of the video"):
        candidate_extents((5, 4, 4), density)
