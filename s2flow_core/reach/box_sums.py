"""Sums over the key tiles inside every box around a query, for all extents at once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from ..windows.extents import axis_covers
from ..windows.grid import TokenGrid
from ..windows.ladder import Knots


@dataclass(frozen=True)
class BoxesOfRows:
    """The boxes around some query rows, as matrices of 1 where a box holds a key tile.

    frames: (rows, kT, nT) float32. plane: (rows, nH*nW, kH*kW) float32. sides: kH, kW.
    """

    frames: Tensor
    plane: Tensor
    sides: tuple[int, int]

    @property
    def size_in_bytes(self) -> int:
        return self.frames.nbytes + self.plane.nbytes

    def of_rows(self, rows: slice) -> BoxesOfRows:
        """The boxes around some of the rows."""
        return replace(self, frames=self.frames[rows], plane=self.plane[rows])

    def sums(self, per_tile: Tensor) -> Tensor:
        """(rows, kT, heads, channels, kH, kW): sums over each query's boxes, for all their extents.

        per_tile: (rows, nT, heads, channels, nH*nW), what each row has in each key tile. Boxes are products
        of nested runs, so two products of matrices do it: first over T, then over the plane.
        """
        asked, frames, heads, channels, places = per_tile.shape
        x = self.frames @ per_tile.reshape(asked, frames, -1)  # (rows, kT, heads*channels*nH*nW)
        x = x.view(asked, -1, places) @ self.plane  # (rows, kT*heads*channels, kH*kW)
        return x.view(asked, self.frames.shape[1], heads, channels, *self.sides)


def boxes_of_rows(grid: TokenGrid, rows: Tensor, knots: Knots) -> BoxesOfRows:
    """Every combination of extents, for rows that are given by their tokens."""
    t, h, w = _runs_of_rows(grid, rows, knots)  # each (rows, tiles of the axis, extents)
    plane = (h[:, :, None, :, None] * w[:, None, :, None, :]).flatten(3).flatten(1, 2)  # (rows, nH*nW, kH*kW)
    return BoxesOfRows(t.transpose(1, 2), plane, (len(knots[1]), len(knots[2])))


MOST_KEPT_BYTES = 64 << 20
"""256 rows at 1280×768 and 117 frames take 23 MB; a measurement must not show in the model's peak."""


class KnownBoxes:
    """The boxes around rows that are asked for call after call, made once on each device.

    Its owner asks for the same rows as long as it lives, or for fewer of them. Where those are many, the
    boxes of some are made anew each time.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, BoxesOfRows] = {}
        self._bytes = 0

    def around(self, grid: TokenGrid, rows: Tensor, piece: slice, knots: Knots) -> BoxesOfRows:
        """`boxes_of_rows` of a piece of the rows."""
        key = (grid, knots, rows.device, len(rows), piece.start, piece.stop)
        if key in self._known:
            return self._known[key]
        made = boxes_of_rows(grid, rows[piece], knots)
        if self._bytes + made.size_in_bytes <= MOST_KEPT_BYTES:
            self._known[key] = made
            self._bytes += made.size_in_bytes
        return made


def _runs_of_rows(grid: TokenGrid, rows: Tensor, knots: Knots) -> tuple[Tensor, Tensor, Tensor]:
    """Per axis (rows, tiles, extents) float32, 1 where the row's run of that extent holds the key tile."""
    _, height, width = grid.shape
    tokens = rows // (height * width), rows // width % height, rows % width
    t, h, w = (
        _runs(count, extents, rows.device)[token // side]
        for count, extents, token, side in zip(grid.tiles, knots, tokens, grid.tile, strict=True)
    )
    return t, h, w


@lru_cache(maxsize=256)
def _runs(tiles: int, extents: tuple[int, ...], device: torch.device) -> Tensor:
    """(query tile, key tile, extent) float32, kept on the device: it is made on the CPU."""
    covers = axis_covers(tiles)[torch.tensor(extents) - 1]  # (extents, query tile, key tile)
    return covers.permute(1, 2, 0).to(device, torch.float32)
