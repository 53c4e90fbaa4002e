"""Query tiles that share a box of keys, gathered: windows as few batches of equal boxes.

Along one axis, neighbouring query tiles near a border see the same run of keys (they are all pushed
inward), and where a window spans the axis, all of them do. So the query tiles that share a box form a box
themselves. Boxes of one size lie at equal distances, hence one strided view holds them all: at most 27
batches for an extent, however many tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise, product

import torch
from torch import Tensor

from ..windows.extents import axis_starts
from ..windows.grid import TokenGrid, Triple


@dataclass(frozen=True)
class Runs:
    """Equally long, equally spaced runs of tokens along one axis; run i starts at start + i*step."""

    count: int
    start: int
    step: int
    length: int

    def halves(self) -> tuple[Runs, Runs]:
        """The first count//2 runs and the rest, so that work too large for one call can be cut in two."""
        first = self.count // 2
        rest = replace(self, count=self.count - first, start=self.start + first * self.step)
        return replace(self, count=first), rest


@dataclass(frozen=True)
class AxisGroups:
    """Groups of query tiles along one axis; group i asks with run i of `queries` and sees run i of `keys`."""

    queries: Runs
    keys: Runs

    @property
    def count(self) -> int:
        """How many groups there are; `queries` and `keys` have one run for each."""
        return self.queries.count

    def halves(self) -> tuple[AxisGroups, AxisGroups]:
        """The first count//2 groups and the rest; no group is cut."""
        queries, keys = self.queries.halves(), self.keys.halves()
        return AxisGroups(queries[0], keys[0]), AxisGroups(queries[1], keys[1])


Boxes = tuple[AxisGroups, AxisGroups, AxisGroups]
"""Every combination of one group per axis: count_T * count_H * count_W boxes of one size."""


@lru_cache(maxsize=4096)
def boxes_of(grid: TokenGrid, extent: Triple) -> tuple[Boxes, ...]:
    """The batches of equal boxes that together are the window `extent`, each query tile in exactly one."""
    t, h, w = (_axis_groups(grid, axis, extent[axis]) for axis in range(3))
    return tuple(product(t, h, w))


def _axis_groups(grid: TokenGrid, axis: int, extent: int) -> list[AxisGroups]:
    """Query tiles of one axis grouped by the run they see, groups of one size gathered."""
    length, side = grid.shape[axis], grid.tile[axis]
    starts = axis_starts(grid.tiles[axis], extent)
    by_size: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for start in sorted(set(starts)):
        first = starts.index(start)
        query = first * side, min((first + starts.count(start)) * side, length)
        key = start * side, min((start + extent) * side, length)
        by_size.setdefault((query[1] - query[0], key[1] - key[0]), []).append((query[0], key[0]))
    return [
        AxisGroups(
            Runs(count, query_start, query_step, query_length),
            Runs(count, key_start, key_step, key_length),
        )
        for (query_length, key_length), members in by_size.items()
        for count, (query_start, key_start), (query_step, key_step) in _equally_spaced(members)
    ]


def _equally_spaced(points: list[tuple[int, int]]) -> Iterator[tuple[int, tuple[int, int], tuple[int, int]]]:
    """Cut a list of points into stretches of equal steps: (count, first point, step)."""
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(points)]
    start = 0
    while start < len(points):
        end = start + 1
        while end < len(points) and steps[end - 1] == steps[start]:
            end += 1
        yield end - start, points[start], steps[start] if end > start + 1 else (0, 0)
        start = end


def strided(x: Tensor, grid: TokenGrid, prefix: int, runs: Sequence[Runs]) -> Tensor:
    """A view of all boxes at once, overlapping where they do; prefix: tokens before the video.

    x: (B, heads, tokens, dim) -> (B, heads, boxes_T, boxes_H, boxes_W, t, h, w, dim)
    """
    _, height, width = grid.shape
    strides = [height * width * x.stride(2), width * x.stride(2), x.stride(2)]
    offsets = [r.start * stride for r, stride in zip(runs, strides, strict=True)]
    steps = [r.step * stride for r, stride in zip(runs, strides, strict=True)]
    return x.as_strided(
        (*x.shape[:2], *(r.count for r in runs), *(r.length for r in runs), x.shape[3]),
        (*x.stride()[:2], *steps, *strides, x.stride(3)),
        x.storage_offset() + prefix * x.stride(2) + sum(offsets),
    )


@lru_cache(maxsize=1024)
def tiles_inside(grid: TokenGrid, boxes: Boxes, device: torch.device) -> Tensor:
    """(gT, gH, gW, tile_count) bool: which key tiles each box holds whole."""
    inside = torch.ones(1, 1, 1, 1, 1, 1, dtype=torch.bool, device=device)  # (gT, gH, gW, nT, nH, nW)
    for axis, groups in enumerate(boxes):
        side = grid.tile[axis]
        tiles = torch.arange(grid.tiles[axis], device=device) * side  # first token of each tile
        starts = groups.keys.start + groups.keys.step * torch.arange(groups.count, device=device)[:, None]
        covered = (starts <= tiles) & (tiles < starts + groups.keys.length)  # (count, tiles of the axis)
        shape = [1] * 6
        shape[axis], shape[axis + 3] = covered.shape
        inside = inside & covered.view(shape)
    return inside.flatten(3)
