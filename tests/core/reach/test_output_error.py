"""The output error of a window is what running that window leaves in the output."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from structured_attention import HEADS, queries_and_keys
from token_grids import every_extent, grids

from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.attention.window_attention import HeadWindows, window_attention
from s2flow_core.reach import measure, output_error
from s2flow_core.reach.choice import Held
from s2flow_core.reach.measure import measure_reach
from s2flow_core.reach.output_error import HeadSums, measure_head_sums, measure_reach_and_error
from s2flow_core.reach.rows import sample_query_rows
from s2flow_core.reach.tile_sums import TileSums, torch_tile_sums
from s2flow_core.windows.grid import TokenGrid
from s2flow_core.windows.ladder import extent_ladder


def rows_of(rows: torch.Tensor, tail: bool) -> torch.Tensor:
    """Those in which the error is measured, all where they are few; the layer's output is of both kinds."""
    every = 1 + bisect_right((32, 48, 64, 80), len(rows))
    return rows[int(tail) % every :: every]


def mean_energy(out: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """|out|², mean over batch, heads and both kinds of rows. out: (B, heads, video tokens, dim)."""
    both = torch.cat([rows_of(rows, False), rows_of(rows, True)])
    return out[:, :, both].square().sum(-1).mean()


def exact_window_error(q, k, v, sequence, rows, tail=False) -> torch.Tensor:
    """(heads, nT, nH, nW) by running every window."""
    grid, heads = sequence.grid, q.shape[1]
    asked = rows_of(rows, tail)
    whole = HeadWindows(torch.tensor([grid.tiles] * heads))
    full = window_attention(q, k, v, sequence, whole, backend="dense")[:, :, sequence.video]
    error = torch.zeros(heads, *grid.tiles)
    for a, b, c in every_extent(grid):
        windows = HeadWindows(torch.tensor([[a, b, c]] * heads), tail)
        out = window_attention(q, k, v, sequence, windows, backend="torch_boxes")[:, :, sequence.video]
        left = (out - full)[:, :, asked]
        error[:, a - 1, b - 1, c - 1] = left.square().sum(-1).mean(dim=(0, 2))
    return error / mean_energy(full, rows)


@pytest.mark.parametrize("count", [1, 12, 40, 85])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("prefix", "suffix"), [(0, 0), (2, 3)])
def test_window_error_is_that_of_the_windowed_output(monkeypatch, prefix, suffix, masked, count):
    torch.manual_seed(5)
    grid = TokenGrid((3, 5, 6), (1, 2, 2))
    tokens = prefix + grid.tokens + suffix
    q, k = (2 * torch.randn(2, 2, tokens, 8) for _ in range(2))
    v = torch.randn(2, 2, tokens, 8)
    rows = sample_query_rows(grid, count, 0)
    mask = None
    if masked:  # hides a tenth of the keys, among them one whole tile, and weighs the others
        mask = torch.randn(2, tokens).masked_fill(torch.rand(2, tokens) < 0.1, float("-inf"))
        mask[:, prefix + torch.tensor([0, 1, 6, 7])] = float("-inf")
    monkeypatch.setattr(
        output_error, "_projection", lambda dim, *where: torch.eye(dim)
    )  # all 8 channels instead of 8 random ones
    sequence = VideoSequence(grid, prefix, suffix, mask)
    measured = measure_reach_and_error(q, k, v, sequence, rows)
    for tail, error in ((False, measured.error), (True, measured.tail_error)):
        expected = exact_window_error(q, k, v, sequence, rows, tail)
        assert torch.allclose(error, expected, rtol=1e-3, atol=1e-5)


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
    sequence = VideoSequence(grid, prefix, suffix, mask)
    found = measure_reach_and_error(q, k, v, sequence, rows)
    assert torch.allclose(found.mass, measure_reach(q, k, sequence, rows), atol=1e-5)
    assert (found.error[:, -1, -1, -1] == 0).all() and (found.tail_error[:, -1, -1, -1] == 0).all()
    # Some of the windows are measured as all are.
    knots = extent_ladder(grid.tiles, 8)
    some = measure_reach_and_error(q, k, v, sequence, rows, knots)
    chosen = torch.meshgrid(*(torch.tensor(extents) - 1 for extents in knots), indexing="ij")
    assert torch.allclose(some.mass, found.mass[:, chosen[0], chosen[1], chosen[2]], atol=1e-5)
    for of_some, of_all in ((some.error, found.error), (some.tail_error, found.tail_error)):
        assert torch.allclose(of_some, of_all[:, chosen[0], chosen[1], chosen[2]], atol=1e-5)
    assert torch.allclose(some.nothing, found.nothing)
    assert torch.allclose(some.tail_nothing, found.tail_nothing)
    assert torch.allclose(measure_reach(q, k, sequence, rows, knots), some.mass, atol=1e-5)


@pytest.mark.parametrize(("prefix", "suffix"), [(0, 0), (2, 3)])
def test_seeing_nothing_costs_what_the_text_alone_leaves(monkeypatch, prefix, suffix):
    torch.manual_seed(5)
    grid = TokenGrid((2, 4, 5), (1, 2, 2))
    q, k, v = (torch.randn(2, 2, prefix + grid.tokens + suffix, 8) for _ in range(3))
    rows = sample_query_rows(grid, 12, 0)
    monkeypatch.setattr(output_error, "_projection", lambda dim, *where: torch.eye(dim))
    measured = measure_reach_and_error(q, k, v, VideoSequence(grid, prefix, suffix), rows).nothing
    sequence = slice(prefix, prefix + grid.tokens)
    video, asked = q[:, :, sequence], rows_of(rows, False)
    full = F.scaled_dot_product_attention(video, k, v)
    text = [*range(prefix), *range(prefix + grid.tokens, k.shape[2])]
    left = torch.zeros_like(full)
    if text:
        left = F.scaled_dot_product_attention(video, k[:, :, text], v[:, :, text])
    expected = (left - full)[:, :, asked].square().sum(-1).mean(dim=(0, 2)) / mean_energy(full, rows)
    assert torch.allclose(measured, expected, rtol=1e-3)


def test_eight_projections_rank_windows_and_heads_as_all_channels_do():
    grid = TokenGrid((4, 8, 8), (1, 2, 2))
    q, k = queries_and_keys(grid.shape)
    v = torch.randn(1, len(HEADS), grid.tokens, 64) * torch.linspace(0.3, 2.0, len(HEADS))[:, None, None]
    rows = sample_query_rows(grid, 640, 0)
    estimate = measure_reach_and_error(q, k, v, VideoSequence(grid, scale=1.0), rows).error.flatten()
    q, k = F.pad(q * 64**0.5, (0, 56)), F.pad(k, (0, 56))  # the exact path wants equal shapes, scales by 1/8
    exact = exact_window_error(q, k, v, VideoSequence(grid), rows).flatten()
    assert torch.corrcoef(torch.stack([estimate, exact]))[0, 1] >= 0.97
    assert estimate.sum() == pytest.approx(exact.sum().item(), rel=0.2)


@pytest.mark.parametrize("cut", [1, 2, 4])
@pytest.mark.parametrize("suffix", [0, 3])
def test_heads_that_are_measured_apart_give_the_record_of_their_layer(cut: int, suffix: int):
    """Heads of very different size, because errors are in units of the whole layer's output."""
    torch.manual_seed(7)
    grid = TokenGrid((3, 6, 8), (1, 2, 2))
    q, k, v = (torch.randn(2, 5, grid.tokens + suffix, 16) for _ in "qkv")
    v *= torch.tensor([0.1, 5.0, 1.0, 0.0, 20.0])[:, None, None]
    rows, sequence = sample_query_rows(grid, 20, 0), VideoSequence(grid, suffix=suffix)
    whole = measure_reach_and_error(q, k, v, sequence, rows)
    parts = [
        measure_head_sums(q[:, heads], k[:, heads], v[:, heads], sequence, rows)
        for heads in (slice(0, cut), slice(cut, 5))
    ]
    joined = HeadSums(*(torch.cat(kind) for kind in zip(*map(kinds_of, parts), strict=True))).of_layer()
    for one, other in zip(kinds_of(joined), kinds_of(whole), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def kinds_of(found: Any) -> list[torch.Tensor]:
    return list(vars(found).values())


@pytest.mark.parametrize("suffix", [0, 3])
def test_how_the_tile_sums_lie_in_memory_changes_nothing(monkeypatch, suffix: int):
    torch.manual_seed(2)
    grid = TokenGrid((3, 5, 6), (1, 2, 2))
    q, k, v = torch.randn(3, 1, len(HEADS), grid.tokens + suffix, 16)
    call = (q, k, v, VideoSequence(grid, suffix=suffix), sample_query_rows(grid, 12, 0))

    def as_the_kernel_writes(*asked: Any) -> TileSums:
        sums = torch_tile_sums(*asked)
        assert sums.means.stride(1) == 1
        return TileSums(sums.lse.contiguous(), sums.means.contiguous())

    as_torch_writes = measure_reach_and_error(*call)
    monkeypatch.setattr(
        output_error,
        "choose_tile_sums",
        lambda q, grid: (as_the_kernel_writes, Held(grid.tokens, by_kernel=False)),
    )
    found = measure_reach_and_error(*call)
    for one, other in zip(kinds_of(found), kinds_of(as_torch_writes), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("suffix", [0, 3])
def test_a_tail_alone_is_one_mean_for_every_tile(monkeypatch, suffix: int):
    """What `nothing` is without a tail; here every tile is partial somewhere."""
    torch.manual_seed(3)
    grid = TokenGrid((3, 5, 5), (2, 2, 2))
    q, k, v = (torch.randn(1, 2, grid.tokens + suffix, 8) for _ in "qkv")
    rows = sample_query_rows(grid, 12, 0)
    monkeypatch.setattr(output_error, "_projection", lambda dim, *where: torch.eye(dim))
    measured = measure_reach_and_error(q, k, v, VideoSequence(grid, suffix=suffix), rows).tail_nothing
    sizes = grid.tile_sizes().flatten()
    means = (grid.sum_tiles(x[:, :, : grid.tokens]) / sizes[:, None] for x in (k, v))
    keys, values = (torch.cat([mean, x[:, :, grid.tokens :]], dim=2) for mean, x in zip(means, (k, v)))
    weights = torch.cat([sizes.log(), torch.zeros(suffix)])
    video, asked = q[:, :, : grid.tokens], rows_of(rows, True)
    full = F.scaled_dot_product_attention(video, k, v)
    left = F.scaled_dot_product_attention(video, keys, values, attn_mask=weights[None])
    expected = (left - full)[:, :, asked].square().sum(-1).mean(dim=(0, 2)) / mean_energy(full, rows)
    assert torch.allclose(measured, expected, rtol=1e-3)


@pytest.mark.parametrize("at_once", [1, 2, 3, 7])
@pytest.mark.parametrize("suffix", [0, 3])
def test_rows_that_are_measured_piece_by_piece_give_the_same(monkeypatch, at_once: int, suffix: int):
    torch.manual_seed(4)
    grid = TokenGrid((3, 5, 6), (1, 2, 2))
    q, k, v = torch.randn(3, 2, len(HEADS), grid.tokens + suffix, 16)
    call = (q, k, v, VideoSequence(grid, suffix=suffix), sample_query_rows(grid, 60, 0))
    whole = measure_reach_and_error(*call)
    piece = output_error._HELD * grid.tile_count * at_once
    monkeypatch.setattr(measure, "LEAST_LOGITS", piece)
    monkeypatch.setattr(measure, "MOST_LOGITS", piece)
    assert measure.pieces(q, 60, Held(piece // at_once, by_kernel=False))[0][2] == slice(0, at_once)
    for one, other in zip(kinds_of(measure_reach_and_error(*call)), kinds_of(whole), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
