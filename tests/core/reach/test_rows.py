"""The sampled queries are distinct, seeded and spread over the whole video."""

from __future__ import annotations

import pytest
import torch

from s2flow_core.reach.rows import sample_query_rows
from s2flow_core.windows.grid import TokenGrid


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
