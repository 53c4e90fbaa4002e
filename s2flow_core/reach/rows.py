"""Which query rows are measured: a sample spread over the whole video."""

from __future__ import annotations

import torch
from torch import Tensor

from ..windows.grid import TokenGrid, Triple


def sample_query_rows(grid: TokenGrid, rows: int, seed: int) -> Tensor:
    """(rows,) int64, ascending: video tokens spread over the whole 3D grid, one drawn from each of `rows`
    blocks.

    The tokens are put into Z-order, whose stretches are compact blocks of the grid, and one is drawn from
    each of `rows` equal stretches. No token is drawn twice; more rows than tokens give every token once.
    Raises ValueError for rows below 1.
    """
    if rows < 1:
        raise ValueError(f"At least one query row must be sampled to measure attention; got {rows}.")
    order = _z_order(grid.shape)
    rows = min(rows, grid.tokens)
    bounds = torch.arange(rows + 1) * grid.tokens // rows
    drawn = torch.rand(rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    picks = bounds[:-1] + (drawn * bounds.diff()).long()
    return order[picks].sort().values


def _z_order(shape: Triple) -> Tensor:
    """(tokens,) int64: the grid's tokens along the Z-order (Morton) curve."""
    t, h, w = torch.meshgrid(*(torch.arange(side) for side in shape), indexing="ij")
    code = torch.zeros(shape, dtype=torch.int64)
    for bit in range(max(shape).bit_length()):
        for place, axis in enumerate((w, h, t)):
            code |= (axis >> bit & 1) << (3 * bit + place)
    return code.flatten().argsort()
