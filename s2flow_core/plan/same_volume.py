"""Policies that give every head the same volume: the paper's, and its failing ablation."""

from __future__ import annotations

import torch
from torch import Tensor

from ..windows.extents import axis_shares, candidate_extents, extent_shares
from .wanted import Wanted

_TIE = 1e-3
"""Coverages this close are equal for half-precision records of sampled rows."""


def paper_windows(wanted: Wanted) -> Tensor:
    """(steps, layers, heads, 3): argmax of coverage over the candidates of this density (Eq. 8-9)."""
    grid, reach = wanted.grid, wanted.reach
    candidates = candidate_extents(grid.tiles, wanted.density, axis_shares(grid))  # (J, 3)
    shares = extent_shares(grid, candidates)
    chosen: list[Tensor] = []
    for step in range(reach.steps):
        coverage = reach.coverage(shares, step)  # (layers, heads, J)
        if chosen:
            before = chosen[-1][..., None]
            coverage = coverage.scatter_add(-1, before, torch.full_like(before, _TIE, dtype=coverage.dtype))
        chosen.append(coverage.argmax(dim=-1))
        wanted.after_step()
    return candidates[torch.stack(chosen)]


def fixed_windows(wanted: Wanted) -> Tensor:
    """(steps, layers, heads, 3): one candidate for all, the nearest to equal shares of the three axes."""
    grid = wanted.grid
    candidates = candidate_extents(grid.tiles, wanted.density, axis_shares(grid))
    distance = (
        (extent_shares(grid, candidates).log() - torch.tensor(wanted.density).log() / 3).square().sum(-1)
    )
    return candidates[distance.argmin()].expand(*wanted.reach.mass.shape[:3], 3)
