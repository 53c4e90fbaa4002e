"""The sampled queries are distinct, seeded and spread over the whole video."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s2flow_core.reach.rows import sample_query_rows
from s2flow_core.windows.grid import TokenGrid, Triple


@pytest.mark.parametrize("shape", [(5, 8, 8), (30, 48, 80), (1, 7, 9)])
def test_rows_are_distinct_seeded_and_spread_over_the_grid(shape):
    grid = TokenGrid(shape)
    rows = sample_query_rows(grid, 256, seed=3)
    assert torch.equal(rows, sample_query_rows(grid, 256, seed=3))
    assert len(rows.unique()) == len(rows) == min(256, grid.tokens)
    assert rows.min() >= 0 and rows.max() < grid.tokens
    if grid.tokens >= 256:
        assert not torch.equal(rows, sample_query_rows(grid, 256, seed=4))
        places = (rows // (shape[1] * shape[2]), rows // shape[2] % shape[1], rows % shape[2])
        for place, side in zip(places, shape, strict=True):
            assert (place + 0.5).mean() / side == pytest.approx(0.5, abs=0.05)
            eighths = torch.bincount((place * 4 // side).long(), minlength=4)
            assert eighths.min() >= 0.6 * eighths.float().mean()


def test_no_rows_are_refused_in_words():
    with pytest.raises(ValueError, match="At least one query row"):
        sample_query_rows(TokenGrid((1, 2, 2)), 0, 0)


@given(st.sampled_from([(2, 4, 4), (4, 8, 8), (8, 8, 8)]), st.integers(0, 999))
def test_one_row_is_drawn_from_every_block(shape: Triple, seed: int):
    """Where the sides are powers of two, stretches of the Z-order are blocks of 2x2x2 tokens."""
    grid = TokenGrid(shape)
    rows = sample_query_rows(grid, grid.tokens // 8, seed)
    _, height, width = shape
    t, h, w = rows // (height * width) // 2, rows // width % height // 2, rows % width // 2
    blocks = (t * (height // 2) + h) * (width // 2) + w
    assert blocks.sort().values.tolist() == list(range(grid.tokens // 8))


@given(st.integers(1, 400))
def test_more_rows_than_tokens_are_all_tokens(rows: int):
    grid = TokenGrid((3, 5, 7))
    drawn = sample_query_rows(grid, rows, seed=1)
    assert len(drawn) == min(rows, 105)
    assert rows < 105 or drawn.tolist() == list(range(105))
