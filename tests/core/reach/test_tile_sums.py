"""Tile sums are a softmax over the video's tokens, cut at the borders of tiles."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_attention import tile_of_token
from token_grids import grids

from s2flow_core.reach.tile_sums import QueryRows, torch_tile_sums
from s2flow_core.windows.grid import TokenGrid


def drawn_rows(grid: TokenGrid, masked: bool, seed: int) -> QueryRows:
    """Five rows of two heads with three channels of values; where masked, a third of the keys hidden."""
    generator = torch.Generator().manual_seed(seed)
    q, k, values = (
        2 * torch.randn(2, n, dim, generator=generator)
        for n, dim in ((5, 8), (grid.tokens, 8), (grid.tokens, 3))
    )
    bias = None
    if masked:
        hidden = torch.rand(grid.tokens, generator=generator) > 0.7
        bias = torch.randn(grid.tokens, generator=generator).masked_fill(hidden, -torch.inf)
    return QueryRows(q, k, values, bias, 0.3)


@given(grids, st.booleans(), st.integers(0, 999))
@settings(max_examples=40)
def test_each_tile_holds_the_softmax_of_its_tokens(grid: TokenGrid, masked: bool, seed: int):
    rows = drawn_rows(grid, masked, seed)
    sums = torch_tile_sums(rows, grid)
    logits = 0.3 * rows.q.double() @ rows.k.double().transpose(1, 2)
    if rows.bias is not None:
        logits = logits + rows.bias
    tile_of = tile_of_token(grid.shape, grid.tile)
    for tile in range(grid.tile_count):
        inside = tile_of == tile
        lse = logits[..., inside].logsumexp(dim=-1)
        torch.testing.assert_close(sums.lse[..., tile].double(), lse, atol=1e-5, rtol=1e-5)
        weights = logits[..., inside].softmax(dim=-1).nan_to_num(0.0)
        means = weights @ rows.values[:, inside].double()
        torch.testing.assert_close(sums.means[:, :, tile].double(), means, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 5, 7)])
def test_equal_logits_give_every_tile_its_share_of_the_tokens(shape):
    grid = TokenGrid(shape, (1, 2, 2))
    rows = QueryRows(
        torch.zeros(1, 1, 4), torch.randn(1, grid.tokens, 4), torch.ones(1, grid.tokens, 1), None, 1
    )
    sums = torch_tile_sums(rows, grid)
    torch.testing.assert_close(sums.mass[0, 0], grid.tile_sizes().flatten() / grid.tokens)
    torch.testing.assert_close(sums.lse[0, 0], grid.tile_sizes().flatten().float().log())
    torch.testing.assert_close(sums.means, torch.ones_like(sums.means))


def test_rows_of_one_head_and_among_some_keys_are_those_of_all():
    grid = TokenGrid((2, 4, 4), (1, 4, 4))
    rows = drawn_rows(grid, masked=True, seed=0)
    whole = torch_tile_sums(rows, grid)
    one = torch_tile_sums(rows.head(1), grid)
    torch.testing.assert_close(one.lse, whole.lse[1:])
    torch.testing.assert_close(one.means, whole.means[1:])
    second_frame = torch_tile_sums(rows.among(slice(16, 32)), TokenGrid((1, 4, 4), (1, 4, 4)))
    torch.testing.assert_close(second_frame.lse, whole.lse[:, :, 1:])
    torch.testing.assert_close(second_frame.means, whole.means[:, :, 1:])
