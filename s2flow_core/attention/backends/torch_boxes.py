"""Windowed attention from slices and torch's own attention kernel; runs on every device.

Along one axis, neighbouring query tiles near a border see the same run of keys (they are all pushed
inward), and where a window spans the axis, all of them do. So the query tiles that share a box form a box
themselves: slice the queries, slice the keys, call scaled_dot_product_attention. Boxes of one size lie at
equal distances, hence one strided view holds them all and one call computes them: at most 27 calls for an
extent, however many tiles.

Every query tile sees exactly its own box; nothing is rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise, product

import torch
from torch import Tensor

from ...windows.extents import axis_starts
from ...windows.grid import TokenGrid, Triple
from ..call import AttentionCall, attend, attend_text, head_runs
from ..extra_keys import ExtraKeys, extra_keys

_MOST_KEY_ELEMENTS = {"cpu": 2**21, "cuda": 2**27}
"""Numbers in the copied keys of one call, by device type: 8 MiB of float32 on a CPU, 256 MiB of half
precision on a GPU. A copy holds boxes that overlap, so without a bound it could be many times the keys.
"""

_MOST_KEY_ELEMENTS_ELSEWHERE = 2**24
"""On devices of which nothing is known, between the two."""


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


def run(call: AttentionCall) -> Tensor:
    """(B, heads, tokens, dim) of windowed attention, exact for every query tile."""
    return attend_in_boxes(
        call,
        (
            (boxes, chosen)
            for extent, heads in call.heads_by_extent().items()
            for chosen in head_runs(heads)
            for boxes in boxes_of(call.grid, extent)
        ),
    )


def attend_in_boxes(call: AttentionCall, work: Iterable[tuple[Boxes, slice]]) -> Tensor:
    """(B, heads, tokens, dim) of attention inside boxes.

    work: boxes with the heads that use them; every query of every head must be in exactly one box.
    """
    out = call.output()
    extra = extra_keys(call)
    for boxes, chosen in work:
        for some_boxes, some_heads in _affordable(call, boxes, chosen):
            _attend_boxes(call, some_boxes, some_heads, extra, out)
    attend_text(call, out)
    if call.stats is not None:
        call.stats.possible += call.q.shape[0] * len(call.heads) * call.grid.tokens**2
    return out


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


def _affordable(call: AttentionCall, boxes: Boxes, heads: slice) -> Iterator[tuple[Boxes, slice]]:
    """Cut the work until the copied keys of one call fit a fixed memory; a single box is never cut."""
    batch, _, _, dim = call.q.shape
    counts = [groups.count for groups in boxes]
    keys = math.prod(groups.keys.length for groups in boxes)
    elements = batch * (heads.stop - heads.start) * math.prod(counts) * keys * dim
    most = _MOST_KEY_ELEMENTS.get(call.q.device.type, _MOST_KEY_ELEMENTS_ELSEWHERE)
    if elements <= most or (max(counts) == 1 and heads.stop - heads.start == 1):
        yield boxes, heads
    elif max(counts) > 1:
        axis = counts.index(max(counts))
        for half in boxes[axis].halves():
            t, h, w = (half if i == axis else groups for i, groups in enumerate(boxes))
            yield from _affordable(call, (t, h, w), heads)
    else:
        middle = (heads.start + heads.stop) // 2
        yield from _affordable(call, boxes, slice(heads.start, middle))
        yield from _affordable(call, boxes, slice(middle, heads.stop))


def _attend_boxes(call: AttentionCall, boxes: Boxes, heads: slice, extra: ExtraKeys, out: Tensor) -> None:
    """One attention call over equal boxes; writes the video tokens of `out` that belong to them."""
    queries, keys = [groups.queries for groups in boxes], [groups.keys for groups in boxes]
    q = _strided(call.q[:, heads], call, queries)  # (B, heads, gT, gH, gW, t, h, w, dim)
    folded = (q.shape[0] * q.shape[1], math.prod(q.shape[2:5]))
    k = _with_extra(_strided(call.k[:, heads], call, keys), extra.k, heads)  # (B*heads, boxes, keys, dim)
    v = _with_extra(_strided(call.v[:, heads], call, keys), extra.v, heads)
    bias = _bias(call, boxes, extra, heads)
    result = attend(q.reshape(*folded, -1, q.shape[-1]), k, v, bias, call.scale)
    _strided(out[:, heads], call, queries).copy_(result.view(q.shape))
    if call.stats is not None:
        pairs = math.prod(q.shape[:-1]) * math.prod(runs.length for runs in keys)
        call.stats.seen += pairs
        call.stats.computed += pairs


def _strided(x: Tensor, call: AttentionCall, runs: list[Runs]) -> Tensor:
    """A view of all boxes at once, overlapping where they do.

    x: (B, heads, tokens, dim) -> (B, heads, boxes_T, boxes_H, boxes_W, t, h, w, dim)
    """
    _, height, width = call.grid.shape
    strides = [height * width * x.stride(2), width * x.stride(2), x.stride(2)]
    offsets = [r.start * stride for r, stride in zip(runs, strides, strict=True)]
    steps = [r.step * stride for r, stride in zip(runs, strides, strict=True)]
    return x.as_strided(
        (*x.shape[:2], *(r.count for r in runs), *(r.length for r in runs), x.shape[3]),
        (*x.stride()[:2], *steps, *strides, x.stride(3)),
        x.storage_offset() + call.prefix * x.stride(2) + sum(offsets),
    )


def _with_extra(boxes: Tensor, extra: Tensor | None, heads: slice) -> Tensor:
    """Append the keys that every query sees to those of each box.

    boxes: (B, heads, gT, gH, gW, t, h, w, dim); extra: (B, all heads, extra, dim)
    -> (B*heads, gT*gH*gW, t*h*w + extra, dim), a view of the boxes where memory allows.
    """
    batch, some_heads, *groups = boxes.shape[:5]
    sides, dim = boxes.shape[5:8], boxes.shape[8]
    folded = (batch * some_heads, math.prod(groups), -1, dim)
    if extra is None:
        return boxes.reshape(folded)
    inside = math.prod(sides)
    joined = boxes.new_empty(batch, some_heads, *groups, inside + extra.shape[2], dim)
    torch.unflatten(joined[..., :inside, :], -2, sides).copy_(boxes)
    joined[..., inside:, :] = extra[:, heads, None, None, None]
    return joined.view(folded)


def _bias(call: AttentionCall, boxes: Boxes, extra: ExtraKeys, heads: slice) -> Tensor | None:
    """(B*heads, boxes, keys of a box + extra) additive, or None where nothing is hidden or weighted."""
    if extra.bias is None and extra.video_bias is None:
        return None
    counts = tuple(groups.count for groups in boxes)
    inside = math.prod(groups.keys.length for groups in boxes)
    batch, device = call.q.shape[0], call.q.device
    if extra.video_bias is None:
        video = torch.zeros(batch, *counts, inside, device=device)
    else:
        keys = [groups.keys for groups in boxes]
        video = _strided(extra.video_bias[:, None, :, None], call, keys).reshape(batch, *counts, inside)
    parts = [video]  # each (B, gT, gH, gW, keys)
    if extra.bias is not None:
        parts.append(extra.bias[:, None, None, None].expand(-1, *counts, -1))
    if extra.tail_tiles:
        hidden = _inside_boxes(call.grid, boxes).to(device)  # (gT, gH, gW, tiles)
        tail = parts[-1][..., -extra.tail_tiles :].masked_fill(hidden, float("-inf"))
        parts[-1] = torch.cat([parts[-1][..., : -extra.tail_tiles], tail], dim=-1)
    bias = torch.cat(parts, dim=-1).flatten(1, 3)  # (B, boxes, keys)
    some_heads = heads.stop - heads.start
    return bias[:, None].expand(-1, some_heads, -1, -1).flatten(0, 1)


@lru_cache(maxsize=1024)
def _inside_boxes(grid: TokenGrid, boxes: Boxes) -> Tensor:
    """(gT, gH, gW, tile_count) bool: which key tiles each box already holds exactly."""
    inside = torch.ones(1, 1, 1, 1, 1, 1, dtype=torch.bool)  # (gT, gH, gW, nT, nH, nW)
    for axis, groups in enumerate(boxes):
        side = grid.tile[axis]
        tiles = torch.arange(grid.tiles[axis]) * side  # first token of each tile
        starts = (groups.keys.start + groups.keys.step * torch.arange(groups.count))[:, None]
        covered = (starts <= tiles) & (tiles < starts + groups.keys.length)  # (count, tiles of the axis)
        shape = [1] * 6
        shape[axis], shape[axis + 3] = covered.shape
        inside = inside & covered.view(shape)
    return inside.flatten(3)
