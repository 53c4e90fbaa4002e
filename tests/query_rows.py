"""A few sampled queries of one head."""

from __future__ import annotations

import torch

from s2flow_core.reach.tile_sums import QueryRows
from s2flow_core.windows.grid import TokenGrid


def some_rows(grid: TokenGrid, dim: int, bias: torch.Tensor | None = None) -> QueryRows:
    """Three rows of one head, with two channels of values."""
    torch.manual_seed(0)
    q, k, values = (torch.randn(1, n, d) for n, d in ((3, dim), (grid.tokens, dim), (grid.tokens, 2)))
    return QueryRows(q, k, values, bias, dim**-0.5)
