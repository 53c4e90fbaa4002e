"""Few extents that stand for all: every small one, and the larger the sparser."""

from __future__ import annotations

import math

from .grid import Triple

Knots = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Per axis the extents, in tiles and rising, whose combinations are recorded; the last is the whole axis."""

MOST_RECORDED = 1024
"""Windows that a record keeps per step, layer and head: of each of the three tables, 440 MB for 50 steps of
60 layers of 24 heads."""

_FINEST_RATIO, _COARSEST_RATIO = 1.0, 1e6
_BISECTIONS = 60


def every_extent(tiles: Triple) -> Knots:
    """All extents of a grid."""
    t, h, w = (tuple(range(1, count + 1)) for count in tiles)
    return t, h, w


def extent_ladder(tiles: Triple, most: int = MOST_RECORDED) -> Knots:
    """Extents on a geometric ladder, the same for all axes, with at most `most` combinations.

    What a window gains by one more tile depends on how large it is already, so equal ratios lose least. All
    extents where those are few enough. most: at least 8, two extents per axis.
    """
    if math.prod(tiles) <= most:
        return every_extent(tiles)
    fine, coarse = _FINEST_RATIO, _COARSEST_RATIO
    for _ in range(_BISECTIONS):
        ratio = (fine * coarse) ** 0.5
        if math.prod(len(knots) for knots in _ladders(tiles, ratio)) <= most:
            coarse = ratio
        else:
            fine = ratio
    return _ladders(tiles, coarse)


def _ladders(tiles: Triple, ratio: float) -> Knots:
    t, h, w = (_ladder(count, ratio) for count in tiles)
    return t, h, w


def _ladder(count: int, ratio: float) -> tuple[int, ...]:
    """1 ... count, each at most `ratio` times the one before, or one more."""
    extents = [1]
    while extents[-1] < count:
        extents.append(min(count, max(extents[-1] + 1, math.floor(extents[-1] * ratio))))
    return tuple(extents)
