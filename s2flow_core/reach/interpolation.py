"""Values between recorded windows: weights of one axis, so that three matrix products fill a whole table."""

from __future__ import annotations

import torch
from torch import Tensor

_SPARSE = 1.5
"""Steps this many times the finest are ones where the record leaves extents out."""


def interpolation(knots: Tensor, at: Tensor) -> Tensor:
    """(len(at), len(knots)) float32: weights of the values at ascending knots, and of 0 at a share of 0.

    Straight between neighbouring extents, where heads that look near may jump, and below the first knot,
    where weights sum to less than 1. Where extents are left out, what windows hold changes smoothly: there a
    cubic (Hermite, slopes from three knots) misses it by less.
    """
    at = at.double().clamp(0.0, 1.0)
    knots = torch.cat([knots.new_zeros(1), knots.double()])
    right = torch.searchsorted(knots, at).clamp(1, len(knots) - 1)
    left, step = right - 1, knots.diff()
    u = ((at - knots[left]) / step[left]).clamp(0.0, 1.0)
    rows = torch.arange(len(at))
    weights = torch.zeros(len(at), len(knots), dtype=torch.float64)
    finest = step[1:].min() if len(step) > 1 else step[0]
    curved = (left > 0) & (step[left] > _SPARSE * finest)
    rising = torch.where(curved, u * u * (3.0 - 2.0 * u), u)
    weights[rows, left] = 1.0 - rising
    weights[rows, right] = rising
    bend = curved.double() * step[left]
    slopes = _slopes(knots)
    weights += (bend * u * (1.0 - u) ** 2)[:, None] * slopes[left]
    weights -= (bend * u * u * (1.0 - u))[:, None] * slopes[right]
    return weights[:, 1:].float()


def _slopes(knots: Tensor) -> Tensor:
    """(knots, knots) weights of the derivative at each knot but the one at 0, where values may jump; exact
    for parabolas, and for lines at the ends."""
    count = len(knots)
    slopes = torch.zeros(count, count, dtype=torch.float64)
    if count < 3:
        return slopes
    for knot in range(2, count - 1):
        before, after = (knots[knot] - knots[knot - 1]).item(), (knots[knot + 1] - knots[knot]).item()
        slopes[knot, knot - 1] = -after / (before * (before + after))
        slopes[knot, knot] = (after - before) / (before * after)
        slopes[knot, knot + 1] = before / (after * (before + after))
    for end, first, second in ((1, 1, 2), (count - 1, count - 2, count - 1)):
        slope = 1.0 / (knots[second] - knots[first])
        slopes[end, first], slopes[end, second] = -slope, slope
    return slopes
