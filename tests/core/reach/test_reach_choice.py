"""The kernel measures where it can, and torch takes over with one logged reason."""

from __future__ import annotations

import torch
from query_rows import some_rows

from s2flow_core.reach import choice
from s2flow_core.reach.choice import choose_tile_sums
from s2flow_core.reach.tile_sums import torch_tile_sums
from s2flow_core.windows.grid import TokenGrid


def test_the_torch_path_is_taken_where_there_is_no_gpu():
    grid = TokenGrid((2, 8, 8), (1, 4, 4))
    assert choose_tile_sums(torch.empty(1, 1, 64, 64), grid) == (torch_tile_sums, grid.tokens)


def test_a_kernel_that_fails_is_replaced_by_torch_with_one_reason(monkeypatch, caplog):
    class Broken:
        @staticmethod
        def tile_sums(*_):
            raise RuntimeError("no such kernel")

    monkeypatch.setattr(choice, "import_module", lambda *_: Broken)
    monkeypatch.setattr(choice, "_fallbacks", set())
    caplog.set_level("INFO")
    grid = TokenGrid((2, 4, 4), (1, 4, 4))
    rows = some_rows(grid, dim=8)
    expected = torch_tile_sums(rows, grid)
    for _ in range(2):
        sums = choice.kernel_tile_sums(rows, grid)
        assert torch.allclose(sums.lse, expected.lse) and torch.allclose(sums.means, expected.means)
    assert caplog.text.count("no such kernel") == 1
