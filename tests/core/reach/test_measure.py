"""Reach is exact for the rows it samples, and a few hundred rows stand for all of them."""

from __future__ import annotations

import naive_attention as naive
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from structured_attention import queries_and_keys
from token_grids import every_extent, grids

from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.reach import measure
from s2flow_core.reach.choice import Held
from s2flow_core.reach.measure import measure_reach
from s2flow_core.reach.rows import sample_query_rows
from s2flow_core.windows.grid import TokenGrid


@given(grids, st.integers(1, 3), st.integers(0, 3), st.integers(0, 4), st.booleans(), st.integers(0, 999))
@settings(max_examples=40)
def test_reach_of_every_extent_is_the_mass_in_its_box(grid, batch, prefix, suffix, masked, seed):
    torch.manual_seed(seed)
    tokens = prefix + grid.tokens + suffix
    q, k = (torch.randn(batch, 2, tokens, 16) for _ in range(2))
    rows = sample_query_rows(grid, 9, seed)
    keep = torch.rand(batch, tokens) > 0.3 if masked else torch.ones(batch, tokens, dtype=torch.bool)
    keep[:, prefix] = True
    reach = measure_reach(q, k, VideoSequence(grid, prefix, suffix, keep if masked else None), rows)
    video = slice(prefix, prefix + grid.tokens)
    logits = q[:, :, video][:, :, rows].double() @ k[:, :, video].double().transpose(-1, -2) / 4.0
    weights = logits.masked_fill(~keep[:, None, None, video], -torch.inf).softmax(-1)
    for a, b, c in every_extent(grid):
        inside = naive.visible_video(grid.shape, grid.tile, (a, b, c))[rows]  # (rows, tokens)
        expected = (weights * inside).sum(-1).mean(dim=(0, 2))
        assert torch.allclose(reach[:, a - 1, b - 1, c - 1].double(), expected, atol=1e-5)


def test_reach_in_pieces_is_the_same(monkeypatch):
    grid = TokenGrid((3, 6, 6), (1, 2, 2))
    q, k = (torch.randn(2, 3, grid.tokens, 16) for _ in range(2))
    rows = sample_query_rows(grid, 20, 0)
    whole = measure_reach(q, k, VideoSequence(grid), rows)
    for most in (1, grid.tokens * 7, grid.tokens * 45):
        monkeypatch.setattr(measure, "LEAST_LOGITS", most)
        monkeypatch.setattr(measure, "MOST_LOGITS", most)
        assert torch.allclose(measure_reach(q, k, VideoSequence(grid), rows), whole, atol=1e-6)


def test_256_rows_stand_for_all():
    grid = TokenGrid((6, 20, 24), (2, 4, 4))
    q, k = queries_and_keys(grid.shape)
    exact = measure_reach(q, k, VideoSequence(grid, scale=1.0), torch.arange(grid.tokens))
    for seed in range(3):
        sampled = measure_reach(q, k, VideoSequence(grid, scale=1.0), sample_query_rows(grid, 256, seed))
        assert (sampled - exact).abs().mean() <= 0.02
        assert (sampled - exact).abs().max() <= 0.06


@given(st.integers(1, 3), st.integers(1, 12), st.integers(1, 300), st.integers(1, 2**15))
def test_pieces_hold_every_row_of_every_head_once_and_stay_small(batch, heads, rows, held):
    q = torch.empty(batch, heads, 500, 8, device="meta")
    seen = torch.zeros(batch, heads, rows, dtype=torch.int64)
    for item, some_heads, some_rows in measure.pieces(q, rows, Held(held, by_kernel=False)):
        seen[item, some_heads, some_rows] += 1
        size = (some_heads.stop - some_heads.start) * (some_rows.stop - some_rows.start) * held
        # 8 MB of float32, which is more than an eighth of these queries.
        assert size <= 2**21
    assert (seen == 1).all()


@pytest.mark.parametrize("tokens", [2**19, 2**20, 2**22])
def test_pieces_are_at_most_an_eighth_of_the_queries(tokens):
    """Also on a GPU that has no kernel: the keys are copied beside them."""
    q = torch.empty(1, 4, tokens, 8, device="meta")
    held = Held(tokens, by_kernel=False)
    sizes = [(h.stop - h.start) * (r.stop - r.start) * tokens for _, h, r in measure.pieces(q, 256, held)]
    assert max(sizes) <= q.numel() // 8
    assert len(sizes) == 4 * 256 // (q.numel() // 8 // tokens)


def test_pieces_of_the_papers_run_on_a_gpu_are_few_and_at_most_half_of_the_queries_bytes():
    """3,600 tiles, 27 numbers of each; every piece is fifty launches."""
    q, numbers = torch.empty(1, 24, 115_200, 128, dtype=torch.bfloat16, device="meta"), 27 * 3600
    found = measure.pieces(q, 256, Held(numbers, by_kernel=True))
    sizes = [4 * (h.stop - h.start) * (r.stop - r.start) * numbers for _, h, r in found]
    assert len(found) == 8 and max(sizes) <= q.numel() * 2 // 2


def test_a_call_of_another_length_is_refused():
    grid = TokenGrid((1, 4, 4))
    q = torch.zeros(1, 1, 20, 8)
    with pytest.raises(ValueError, match=r"attends to 20 tokens, .* are for 1 \+ 1x4x4 \+ 2"):
        measure_reach(q, q, VideoSequence(grid, prefix=1, suffix=2), torch.arange(4))
