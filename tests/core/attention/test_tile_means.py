"""A tile's key and value are its tokens' means, and cost one pass over them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tile_mean_cases import TOLERANCE, a_call, assert_means, random_bias
from token_grids import grids

from benchmarks.common.live_memory import LiveMemory
from s2flow_core.attention import tile_means
from s2flow_core.attention.tile_means import log_sizes, torch_tile_means
from s2flow_core.windows.grid import TokenGrid


@given(grids, st.integers(0, 2), st.booleans(), st.integers(0, 999), st.sampled_from(list(TOLERANCE)))
@settings(max_examples=40)
def test_a_tile_is_its_tokens_mean_with_the_weight_of_their_sum(grid, prefix, masked, seed, dtype):
    bias = random_bias(prefix + grid.tokens, seed) if masked else None
    assert_means(a_call(grid, prefix, bias, 4, dtype), torch_tile_means)


@pytest.mark.parametrize("masked", [False, True])
def test_cutting_the_tiles_to_fit_memory_changes_nothing(monkeypatch, masked):
    grid = TokenGrid((5, 6, 7), (2, 2, 3))
    bias = random_bias(grid.tokens, 0) if masked else None
    monkeypatch.setitem(tile_means._MOST_NUMBERS, "cpu", 1)
    assert_means(a_call(grid, 0, bias, 4, torch.float32), torch_tile_means)


@pytest.mark.parametrize("masked", [False, True])
def test_all_heads_at_once_take_little_memory(monkeypatch, masked):
    """In the proportion that they have on a GPU."""
    grid = TokenGrid((4, 30, 30), (1, 4, 4))
    call = a_call(grid, 0, random_bias(grid.tokens, 0) if masked else None, 64, torch.float16)
    monkeypatch.setitem(tile_means._MOST_NUMBERS, "cpu", call.k.numel() // 64)
    keys, values = torch.empty(2, 2, 2, grid.tile_count, 64, dtype=torch.float16)
    with LiveMemory() as memory:
        torch_tile_means(call, keys, values)
    assert memory.peak < 0.15 * call.k.numel() * call.k.element_size()


def test_weights_without_a_mask_are_numbers_of_tokens():
    grid = TokenGrid((1, 3, 5), (1, 2, 2))
    sizes = log_sizes(grid, torch.device("cpu")).exp()
    torch.testing.assert_close(sizes, torch.tensor([[4.0, 4, 2, 2, 2, 1]]))
