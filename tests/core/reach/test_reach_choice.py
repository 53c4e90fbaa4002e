"""The kernel measures where it can, and torch takes over with one logged reason."""

from __future__ import annotations

import pytest
import torch
from query_rows import some_rows

from s2flow_core.reach import choice
from s2flow_core.reach.choice import Held, choose_tile_sums
from s2flow_core.reach.tile_sums import TileSums, torch_tile_sums
from s2flow_core.windows.grid import TokenGrid


def test_the_torch_path_is_taken_where_there_is_no_gpu():
    grid = TokenGrid((2, 8, 8), (1, 4, 4))
    assert choose_tile_sums(torch.empty(1, 1, 64, 64), grid) == (
        torch_tile_sums,
        Held(grid.tokens, by_kernel=False),
    )


def test_a_kernel_that_fails_is_replaced_by_torch_with_one_reason(monkeypatch, caplog):
    class Broken:
        @staticmethod
        def tile_sums(*_):
            raise RuntimeError("no such kernel")

    monkeypatch.setattr(choice, "import_module", lambda *_: Broken)
    monkeypatch.setattr(choice, "_fallbacks", set())
    monkeypatch.setattr(choice, "_trusted", {})
    caplog.set_level("INFO")
    grid = TokenGrid((2, 4, 4), (1, 4, 4))
    rows = some_rows(grid, dim=8)
    expected = torch_tile_sums(rows, grid)
    for _ in range(2):
        sums = choice.kernel_tile_sums(rows, grid)
        assert torch.allclose(sums.lse, expected.lse) and torch.allclose(sums.means, expected.means)
    assert caplog.text.count("no such kernel") == 1


def halved_values(rows, grid):
    right = torch_tile_sums(rows, grid)
    return TileSums(right.lse, right.means / 2)


def blind_to_partial_tiles(rows, grid):
    right = torch_tile_sums(rows, grid)
    return right if grid.divides else TileSums(right.lse + 0.1, right.means)


def not_a_number(rows, grid):
    right = torch_tile_sums(rows, grid)
    return TileSums(right.lse, torch.full_like(right.means, torch.nan))


@pytest.mark.parametrize("wrong", [halved_values, blind_to_partial_tiles, not_a_number])
def test_a_kernel_that_gives_wrong_numbers_is_not_believed(monkeypatch, caplog, wrong):
    class Wrong:
        tile_sums = staticmethod(wrong)

    monkeypatch.setattr(choice, "import_module", lambda *_: Wrong)
    monkeypatch.setattr(choice, "_trusted", {})
    grid = TokenGrid((3, 6, 5), (2, 4, 4))
    rows = some_rows(grid, dim=8)
    expected = torch_tile_sums(rows, grid)
    for _ in range(2):
        sums = choice.kernel_tile_sums(rows, grid)
        assert torch.allclose(sums.lse, expected.lse) and torch.allclose(sums.means, expected.means)
    assert caplog.text.count("gives wrong numbers") == 1


def test_a_kernel_that_is_right_is_checked_once_and_used(monkeypatch, caplog):
    asked = []

    def right(rows, grid):
        asked.append(grid)
        return torch_tile_sums(rows, grid)

    class Right:
        tile_sums = staticmethod(right)

    monkeypatch.setattr(choice, "import_module", lambda *_: Right)
    monkeypatch.setattr(choice, "_trusted", {})
    grid = TokenGrid((3, 6, 5), (2, 4, 4))
    for _ in range(2):
        choice.kernel_tile_sums(some_rows(grid, dim=8), grid)
    assert [seen == grid for seen in asked] == [False, True, True]
    assert not caplog.text
