"""Tiles hold every token once, in the order they promise, and are fine enough to choose windows from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s2flow_core.windows.grid import TokenGrid, choose_reach_tile, choose_tile

sides = st.tuples(st.integers(1, 7), st.integers(1, 11), st.integers(1, 11))
tiles = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
grids = st.builds(TokenGrid, sides, tiles)
video_sizes = st.tuples(st.integers(1, 40), st.integers(1, 120), st.integers(1, 180))


@given(grids)
@settings(max_examples=60)
def test_tile_order_and_back_is_the_same_video(grid: TokenGrid):
    x = torch.randn(2, 3, grid.tokens, 4)
    tiled = grid.to_tiles(x)
    assert tiled.shape == (2, 3, grid.tile_count * grid.tile_tokens, 4)
    assert torch.equal(grid.from_tiles(tiled), x)


@given(grids)
@settings(max_examples=60)
def test_every_tile_holds_its_own_tokens_and_nothing_else(grid: TokenGrid):
    number = torch.arange(1, grid.tokens + 1).view(1, 1, -1, 1)  # 0 is padding
    slots = grid.to_tiles(number).view(grid.tile_count, grid.tile_tokens)
    assert torch.equal(slots > 0, grid.slot_valid())
    assert torch.equal(slots[slots > 0].sort().values, number.flatten())
    assert torch.equal((slots > 0).sum(1), grid.tile_sizes().flatten())
    _, height, width = grid.shape
    _, tiles_h, tiles_w = grid.tiles
    for tile, held in enumerate(slots.tolist()):
        for token in (n - 1 for n in held if n):
            t, h, w = token // (height * width), token // width % height, token % width
            index = ((t // grid.tile[0]) * tiles_h + h // grid.tile[1]) * tiles_w + w // grid.tile[2]
            assert index == tile


@given(grids)
@settings(max_examples=40)
def test_sum_of_tiles_is_the_sum_of_their_tokens(grid: TokenGrid):
    x = torch.randn(1, 2, grid.tokens, 3, dtype=torch.float64)
    ones = torch.ones(1, 1, grid.tokens, 1)
    assert torch.allclose(grid.sum_tiles(x).sum(2), x.sum(2))
    assert torch.equal(grid.sum_tiles(ones).flatten(), grid.tile_sizes().flatten().float())


def test_counts_of_the_papers_grids():
    high = TokenGrid((30, 96, 160))
    assert (high.tokens, high.tiles, high.tile_tokens, high.divides) == (460_800, (15, 12, 20), 128, True)
    assert TokenGrid((5, 9, 16)).tiles == (3, 2, 2)
    assert not TokenGrid((5, 9, 16)).divides


@pytest.mark.parametrize(
    ("shape", "tile"),
    [
        ((30, 96, 160), (2, 8, 8)),
        ((30, 48, 80), (2, 8, 8)),
        ((5, 16, 16), (1, 4, 4)),
        ((5, 8, 8), (1, 2, 2)),
        ((1, 64, 64), (1, 8, 16)),
        ((1, 1, 1), (1, 1, 1)),
        ((21, 60, 104), (1, 16, 8)),
        ((21, 90, 160), (1, 8, 16)),
        ((33, 90, 160), (2, 4, 16)),
        ((31, 44, 80), (2, 4, 16)),
        ((21, 96, 160), (1, 8, 16)),
    ],
)
def test_tile_for_attention(shape, tile):
    assert choose_tile(shape) == tile


@given(video_sizes)
@settings(max_examples=80)
def test_chosen_tile_leaves_enough_tiles(shape):
    counts = TokenGrid(shape, choose_tile(shape)).tiles
    assert all(n >= min(want, side) for n, want, side in zip(counts, (3, 4, 4), shape, strict=True))


@given(st.tuples(st.integers(9, 60), st.integers(32, 120), st.integers(32, 180)))
@settings(max_examples=80)
def test_no_cube_causes_less_work_than_the_chosen_tile(shape):
    chosen, cube = (TokenGrid(shape, tile) for tile in (choose_tile(shape), (2, 8, 8)))
    assert chosen.tile_tokens == 128
    assert chosen.tile_count <= cube.tile_count


@pytest.mark.parametrize(
    ("shape", "tile"), [((5, 8, 8), (1, 2, 2)), ((30, 48, 80), (2, 4, 4)), ((1, 1, 1), (1, 1, 1))]
)
def test_tile_for_reach(shape, tile):
    assert choose_reach_tile(shape) == tile


@given(st.tuples(st.integers(1, 40), st.integers(1, 80), st.integers(1, 80)))
@settings(max_examples=80)
def test_windows_of_twice_the_size_are_recorded_at_their_borders(shape):
    """Unless a tile of the large grid is a single token, it covers whole tokens of the small one."""
    frames, height, width = shape
    large = choose_tile((frames, 2 * height, 2 * width))
    small = choose_reach_tile(shape)
    assert all(
        fine * scale == side or side == 1 for fine, side, scale in zip(small, large, (1, 2, 2), strict=True)
    )


@pytest.mark.parametrize(
    ("shape", "tile"), [((0, 4, 4), (1, 1, 1)), ((4, 4, 4), (1, 0, 1)), ((4, 4), (1, 1, 1))]
)
def test_impossible_grids_are_refused_in_words(shape, tile):
    with pytest.raises(ValueError, match="three whole numbers"):
        TokenGrid(shape, tile)
