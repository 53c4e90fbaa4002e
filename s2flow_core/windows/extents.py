"""Windows: boxes of tiles that slide with the query.

A window is an *extent* (a, b, c): its size in tiles along T, H and W. Every query tile sees the box of that
size centred on it and pushed inward at the borders of the grid. So no box is empty, every query of a head
sees the same number of key tiles, and no mask is ever needed (S²Flow Eq. 7-9 with the clamping of
FreeSwim).

An even extent has no middle tile; it reaches one tile further back than forward: extent 4 at tile i covers
i-2 ... i+1. Along each axis the runs of growing extents are nested: extent e+1 adds exactly one tile to e.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor

from .grid import TokenGrid, Triple

_ROUNDING = 1e-9
"""Volumes are products of float64 shares; a window of exactly the density must not be lost to rounding."""


def axis_starts(tiles: int, extent: int) -> list[int]:
    """First key tile that each query tile of one axis sees: clamp(i - extent//2, 0, tiles - extent)."""
    return [min(max(tile - extent // 2, 0), tiles - extent) for tile in range(tiles)]


def box_start(tile_index: Triple, extent: Triple, tiles: Triple) -> Triple:
    """First key tile (T, H, W) of the box that the query tile `tile_index` sees."""
    t, h, w = (axis_starts(n, e)[i] for n, e, i in zip(tiles, extent, tile_index, strict=True))
    return t, h, w


@lru_cache(maxsize=256)
def axis_covers(tiles: int) -> Tensor:
    """(extent - 1, query tile, key tile) bool: does the run of this extent reach that key tile?"""
    starts = torch.tensor([axis_starts(tiles, extent) for extent in range(1, tiles + 1)])  # (tiles, tiles)
    ends = starts + torch.arange(1, tiles + 1)[:, None]
    key = torch.arange(tiles)
    return (starts[..., None] <= key) & (key < ends[..., None])


def axis_pairs(grid: TokenGrid, axis: int) -> Tensor:
    """(tiles,) int64: for extents 1...tiles, the (query, key) token pairs of one axis that a window keeps.

    Query and key tokens are counted, not tiles, so partial tiles at the grid's end count as what they are.
    """
    lengths = torch.tensor(grid.tile_lengths(axis))
    seen = (axis_covers(grid.tiles[axis]) * lengths).sum(-1)  # (extent, query tile)
    return (seen * lengths).sum(-1)


@lru_cache(maxsize=4096)
def seen_pairs(grid: TokenGrid, extent: Triple) -> int:
    """(query, key) pairs of video tokens that a window keeps."""
    return math.prod(int(axis_pairs(grid, axis)[extent[axis] - 1]) for axis in range(3))


def computed_pairs(grid: TokenGrid, extent: Triple) -> int:
    """What a kernel computes for a window that works in whole tiles: pairs of slots, padding included."""
    return grid.tile_count * math.prod(extent) * grid.tile_tokens**2


def axis_shares(grid: TokenGrid) -> tuple[Tensor, Tensor, Tensor]:
    """Per axis (tiles,) float64: the mean share of the axis that a query sees, for extents 1...tiles.

    For full tiles this is extent/tiles. Boxes are products of runs, so the density of a window is exactly the
    product of its three shares, and a share is a size that fits any other grid: LR and HR windows of equal
    shares are the same window.
    """
    t, h, w = (axis_pairs(grid, axis).double() / grid.shape[axis] ** 2 for axis in range(3))
    return t, h, w


def extent_densities(grid: TokenGrid) -> Tensor:
    """(nT, nH, nW) float64: share of all video keys that the mean query sees, for every extent."""
    t, h, w = axis_shares(grid)
    return t[:, None, None] * h[None, :, None] * w[None, None, :]


def extent_shares(grid: TokenGrid, extents: Tensor) -> Tensor:
    """(..., 3) extents in tiles -> (..., 3) float64 shares of the grid per axis, in 0...1."""
    per_axis = [share[extents[..., axis].long() - 1] for axis, share in enumerate(axis_shares(grid))]
    return torch.stack(per_axis, dim=-1)


def extent_triples(extents: Tensor) -> tuple[Triple, ...]:
    """(..., 3) integer extents as numbers, one (a, b, c) per window in the tensor's order."""
    rows = cast(Any, extents.reshape(-1, 3)).tolist()  # torch does not say what its lists hold
    return tuple((t, h, w) for t, h, w in rows)


def candidate_extents(
    tiles: Triple, density: float, shares: tuple[Tensor, Tensor, Tensor] | None = None
) -> Tensor:
    """Every window that fits into `density` and cannot grow along any axis without passing it.

    The paper (Eq. 7) leaves the set open. These are all the shapes worth comparing, from flat and wide to
    narrow and long, including those that span a whole axis.

    tiles: grid size in tiles; density: 0...1; shares: the axes' shares per extent (`axis_shares`), by default
    extent/tiles. Returns (J, 3) int64 with J >= 1: if even one tile is more than `density`, that tile.
    """
    check_density(density)
    if shares is None:
        t, h, w = (torch.arange(1, n + 1, dtype=torch.float64) / n for n in tiles)
    else:
        t, h, w = shares
    volume = t[:, None, None] * h[None, :, None] * w[None, None, :]
    fits = volume <= density + _ROUNDING
    maximal = fits.clone()
    for axis, count in enumerate(tiles):
        grown_fits = fits.narrow(axis, 1, count - 1)
        maximal.narrow(axis, 0, count - 1).logical_and_(~grown_fits)
    extents = maximal.nonzero() + 1  # (J, 3)
    return extents if len(extents) else torch.ones(1, 3, dtype=torch.int64)


def check_density(density: float) -> None:
    """Raise ValueError unless 0 < density <= 1."""
    if not 0.0 < density <= 1.0:
        raise ValueError(
            f"Sparsity s is the share of the video that a query looks at, 0 < s <= 1; got {density}. "
            "Use 0.5 for half of the video, 1 for all of it."
        )
