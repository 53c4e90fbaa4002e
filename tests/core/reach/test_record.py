"""The record gives back what was measured, and foresees windows of any size on any grid."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from structured_attention import queries_and_keys
from token_grids import every_extent, grids

from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.reach.measure import measure_reach
from s2flow_core.reach.record import AttentionReach
from s2flow_core.windows.extents import axis_shares, extent_shares
from s2flow_core.windows.grid import TokenGrid, choose_reach_tile


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
    mass = measure_reach(q, k, VideoSequence(small, scale=1.0), torch.arange(small.tokens))
    record = AttentionReach(mass[None, None].half(), small.shape, small.tile)
    q, k = queries_and_keys(large.shape, content=0.0)
    real = measure_reach(q, k, VideoSequence(large, scale=1.0), torch.arange(large.tokens))
    foreseen = record.coverage_table(0, axis_shares(large))[0]
    assert (foreseen - real).abs().mean() <= 0.03


def test_a_record_that_does_not_fit_its_grid_is_refused():
    with pytest.raises(ValueError, match="attention record's mass"):
        AttentionReach(torch.zeros(1, 1, 1, 5, 8, 7), (5, 8, 8), (1, 1, 1))
    with pytest.raises(ValueError, match="policy 'paper'"):
        a_record(TokenGrid((5, 8, 8))).error_table(0, axis_shares(TokenGrid((5, 8, 8))))


def test_coverage_between_recorded_windows_is_trilinear():
    """Mass a·b·c is itself trilinear in the shares, so interpolation gives it back everywhere."""
    grid = TokenGrid((4, 6, 5), (1, 2, 1))
    t, h, w = ((torch.arange(count) + 1) / count for count in grid.tiles)
    product = t[:, None, None] * h[:, None] * w
    record = AttentionReach(product[None, None, None].float(), grid.shape, grid.tile)
    shares = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(record.coverage(shares)[0, 0, 0], shares.prod(dim=1).float())


@pytest.mark.parametrize(
    "knots", [((1,), (1,), (1, 2, 3, 5)), ((1,), (1,), (2, 1, 3, 4)), ((1,), (1,), (1, 4))]
)
def test_extents_that_are_none_of_the_grid_are_refused(knots):
    with pytest.raises(ValueError, match="attention record"):
        AttentionReach(torch.zeros(1, 1, 1, 1, 1, 4), (1, 1, 4), (1, 1, 1), knots=knots)


def mean(one: float, other: float) -> float:
    """Half way between two errors, which are squares."""
    return ((one**0.5 + other**0.5) / 2) ** 2


def test_below_the_smallest_window_the_error_rises_to_that_of_seeing_nothing():
    grid = TokenGrid((1, 2, 4), (1, 1, 1))
    error = torch.tensor([[0.9, 0.5, 0.2, 0.1], [0.8, 0.4, 0.1, 0.0]]).view(1, 1, 1, 1, 2, 4)
    record = AttentionReach(error * 0, grid.shape, grid.tile, error, nothing=torch.full((1, 1, 1), 1.5))
    one = torch.ones(1).double()
    widths = torch.tensor([0.0, 0.125, 0.25, 0.375, 1.0]).double()
    whole = record.error_table(0, (one, one, widths)).flatten()
    torch.testing.assert_close(whole, torch.tensor([1.5, mean(1.5, 0.8), 0.8, mean(0.8, 0.4), 0.0]))
    # However wide a window is, without height it is empty.
    flat = record.error_table(0, (one, torch.tensor([0.0, 0.25]).double(), widths))[0, 0, 0]
    torch.testing.assert_close(flat[0], torch.full((5,), 1.5))
    halfway = [mean(1.5, known) for known in (0.9, 0.1)]
    torch.testing.assert_close(flat[1][[0, 2, 4]], torch.tensor([1.5, *halfway]))
    assert (flat[1].diff() < 0).all()


def test_records_of_earlier_versions_keep_the_error_of_their_smallest_window():
    grid = TokenGrid((1, 1, 4), (1, 1, 1))
    mass, error = torch.tensor([0.4, 0.6, 0.8, 1.0]), torch.tensor([0.9, 0.5, 0.2, 0.0])
    record = AttentionReach(mass.view(1, 1, 1, 1, 1, 4), grid.shape, grid.tile, error.view(1, 1, 1, 1, 1, 4))
    one = torch.ones(1).double()
    shares = (one, one, torch.tensor([0.0, 0.125, 0.25, 0.375, 1.0]).double())
    torch.testing.assert_close(
        record.coverage_table(0, shares).flatten(), torch.tensor([0.0, 0.2, 0.4, 0.5, 1.0])
    )
    torch.testing.assert_close(
        record.error_table(0, shares).flatten(), torch.tensor([0.9, 0.9, 0.9, mean(0.9, 0.5), 0.0])
    )
