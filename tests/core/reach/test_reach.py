"""Reach is exact for the rows it samples, and a few hundred rows stand for all of them."""

from __future__ import annotations

import itertools

import naive_attention as naive
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from structured_attention import HEADS, queries_and_keys

from s2flow_core.attention.window_attention import window_attention
from s2flow_core.reach import measure, output_error
from s2flow_core.reach.measure import measure_reach
from s2flow_core.reach.output_error import measure_reach_and_error
from s2flow_core.reach.record import AttentionReach
from s2flow_core.reach.rows import sample_query_rows
from s2flow_core.windows.extents import axis_shares, extent_shares
from s2flow_core.windows.grid import TokenGrid, choose_reach_tile

grids = st.builds(
    TokenGrid,
    st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)),
    st.sampled_from([(1, 1, 1), (1, 2, 2), (2, 2, 3), (1, 4, 4)]),
)


def every_extent(grid: TokenGrid):
    return itertools.product(*(range(1, n + 1) for n in grid.tiles))


@given(grids, st.integers(1, 3), st.integers(0, 3), st.integers(0, 4), st.booleans(), st.integers(0, 999))
@settings(max_examples=40)
def test_reach_of_every_extent_is_the_mass_in_its_box(grid, batch, prefix, suffix, masked, seed):
    torch.manual_seed(seed)
    tokens = prefix + grid.tokens + suffix
    q, k = (torch.randn(batch, 2, tokens, 16) for _ in range(2))
    rows = sample_query_rows(grid, 9, seed)
    keep = torch.rand(batch, tokens) > 0.3 if masked else torch.ones(batch, tokens, dtype=torch.bool)
    keep[:, prefix] = True
    reach = measure_reach(q, k, grid, rows, prefix, suffix, keep if masked else None)
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
    whole = measure_reach(q, k, grid, rows)
    for most in (1, grid.tokens * 7, grid.tokens * 45):
        monkeypatch.setattr(measure, "LEAST_LOGITS", most)
        monkeypatch.setattr(measure, "MOST_LOGITS", most)
        assert torch.allclose(measure_reach(q, k, grid, rows), whole, atol=1e-6)


def test_256_rows_stand_for_all():
    grid = TokenGrid((6, 20, 24), (2, 4, 4))
    q, k = queries_and_keys(grid.shape)
    exact = measure_reach(q, k, grid, torch.arange(grid.tokens), scale=1.0)
    for seed in range(3):
        sampled = measure_reach(q, k, grid, sample_query_rows(grid, 256, seed), scale=1.0)
        assert (sampled - exact).abs().mean() <= 0.02
        assert (sampled - exact).abs().max() <= 0.06


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


def a_record(grid: TokenGrid, steps: int = 2) -> AttentionReach:
    torch.manual_seed(1)
    mass = torch.rand(steps, 3, 2, *grid.tiles)
    for axis in (3, 4, 5):
        mass = mass.cumsum(axis)
    mass = mass / mass[..., -1:, -1:, -1:]
    return AttentionReach(mass.half(), grid.shape, grid.tile)


@given(grids)
@settings(max_examples=30)
def test_coverage_of_recorded_windows_is_what_was_recorded(grid: TokenGrid):
    record = a_record(grid)
    extents = torch.tensor(list(every_extent(grid)))
    coverage = record.coverage(extent_shares(grid, extents))
    assert torch.allclose(coverage, record.mass.float().flatten(3), atol=1e-4)
    nothing_and_all = record.coverage(torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0]]))
    assert torch.allclose(
        nothing_and_all, torch.tensor([0.0, 0.0, 1.0]).expand_as(nothing_and_all), atol=1e-6
    )


def test_coverage_grows_with_the_window_and_tables_agree():
    record = a_record(TokenGrid((5, 8, 8), (1, 1, 1)))
    sizes = torch.linspace(0, 1, 9).double()
    fractions = torch.cartesian_prod(sizes, sizes, sizes)
    table = record.coverage(fractions).view(2, 3, 2, 9, 9, 9)
    for axis in (3, 4, 5):
        assert (table.diff(dim=axis) >= -1e-6).all()
    for step in range(2):
        assert torch.allclose(record.coverage(fractions, step).view(3, 2, 9, 9, 9), table[step])
        assert torch.allclose(record.coverage_table(step, (sizes, sizes, sizes)), table[step], atol=1e-6)


def test_windows_of_the_large_grid_are_foreseen_from_the_small_one():
    """The same heads at 5x8x8 and 5x16x16 tokens: coverage looked up by share agrees with the real one."""
    small, large = TokenGrid((5, 8, 8), choose_reach_tile((5, 8, 8))), TokenGrid((5, 16, 16), (1, 4, 4))
    q, k = queries_and_keys(small.shape, content=0.0)
    mass = measure_reach(q, k, small, torch.arange(small.tokens), scale=1.0)
    record = AttentionReach(mass[None, None].half(), small.shape, small.tile)
    q, k = queries_and_keys(large.shape, content=0.0)
    real = measure_reach(q, k, large, torch.arange(large.tokens), scale=1.0)
    foreseen = record.coverage_table(0, axis_shares(large))[0]
    assert (foreseen - real).abs().mean() <= 0.03


def test_a_record_that_does_not_fit_its_grid_is_refused():
    with pytest.raises(ValueError, match="attention record's mass"):
        AttentionReach(torch.zeros(1, 1, 1, 5, 8, 7), (5, 8, 8), (1, 1, 1))
    with pytest.raises(ValueError, match="policy 'paper'"):
        a_record(TokenGrid((5, 8, 8))).error_table(0, axis_shares(TokenGrid((5, 8, 8))))


def exact_window_error(q, k, v, grid, rows, prefix, suffix) -> torch.Tensor:
    """(heads, nT, nH, nW) by running every window."""
    asked = rows + prefix
    full = window_attention(
        q, k, v, grid, torch.tensor([grid.tiles] * q.shape[1]), prefix=prefix, suffix=suffix, backend="dense"
    )[:, :, asked]
    error = torch.zeros(q.shape[1], *grid.tiles)
    for a, b, c in every_extent(grid):
        extents = torch.tensor([[a, b, c]] * q.shape[1])
        out = window_attention(q, k, v, grid, extents, prefix=prefix, suffix=suffix, backend="torch_boxes")[
            :, :, asked
        ]
        error[:, a - 1, b - 1, c - 1] = (out - full).square().sum(-1).mean(dim=(0, 2))
    return error / full.square().sum(-1).mean()


@pytest.mark.parametrize(("prefix", "suffix"), [(0, 0), (2, 3)])
def test_window_error_is_that_of_the_windowed_output(monkeypatch, prefix, suffix):
    torch.manual_seed(5)
    grid = TokenGrid((3, 5, 4), (1, 2, 2))
    q, k = (2 * torch.randn(2, 2, prefix + grid.tokens + suffix, 8) for _ in range(2))
    v = torch.randn(2, 2, prefix + grid.tokens + suffix, 8)
    rows = sample_query_rows(grid, 12, 0)
    monkeypatch.setattr(output_error, "_projection", torch.eye)  # all 8 channels instead of 8 random ones
    measured = measure_reach_and_error(q, k, v, grid, rows, prefix, suffix)[1]
    assert torch.allclose(
        measured, exact_window_error(q, k, v, grid, rows, prefix, suffix), rtol=1e-3, atol=1e-5
    )


@given(grids, st.integers(0, 3), st.integers(0, 4), st.booleans(), st.integers(0, 999))
@settings(max_examples=20)
def test_reach_measured_with_the_error_is_the_same(grid, prefix, suffix, masked, seed):
    torch.manual_seed(seed)
    tokens = prefix + grid.tokens + suffix
    q, k, v = (torch.randn(2, 2, tokens, 16) for _ in range(3))
    mask = None
    if masked:
        mask = torch.rand(2, tokens) > 0.3
        mask[:, prefix] = True
    rows = sample_query_rows(grid, 9, seed)
    reach, error = measure_reach_and_error(q, k, v, grid, rows, prefix, suffix, mask)
    assert torch.allclose(reach, measure_reach(q, k, grid, rows, prefix, suffix, mask), atol=1e-5)
    assert (error[:, -1, -1, -1] == 0).all()


def test_eight_projections_rank_windows_and_heads_as_all_channels_do():
    grid = TokenGrid((4, 8, 8), (1, 2, 2))
    q, k = queries_and_keys(grid.shape)
    v = torch.randn(1, len(HEADS), grid.tokens, 64) * torch.linspace(0.3, 2.0, len(HEADS))[:, None, None]
    rows = sample_query_rows(grid, 128, 0)
    estimate = measure_reach_and_error(q, k, v, grid, rows, scale=1.0)[1].flatten()
    q, k = F.pad(q * 64**0.5, (0, 56)), F.pad(k, (0, 56))  # the exact path wants equal shapes, scales by 1/8
    exact = exact_window_error(q, k, v, grid, rows, 0, 0).flatten()
    assert torch.corrcoef(torch.stack([estimate, exact]))[0, 1] >= 0.97
    assert estimate.sum() == pytest.approx(exact.sum().item(), rel=0.2)
