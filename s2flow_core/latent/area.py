"""Exact area means along one axis: what noise and shrunk latents share, so that they agree in place."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def area_overlap(cells: int, intervals: int) -> Tensor:
    """(intervals, cells) float64: how much of each cell lies in each of `intervals` equal parts of the axis.

    In cells; rows sum to cells / intervals. Adaptive pooling takes whole cells only, and so moves a picture
    by up to a quarter of a cell where the ratio is not whole.
    """
    edges = torch.arange(intervals + 1, dtype=torch.float64) * cells / intervals
    cell = torch.arange(cells, dtype=torch.float64)
    right = torch.minimum(edges[1:, None], cell + 1)
    left = torch.maximum(edges[:-1, None], cell)
    return (right - left).clamp_min(0)


def area_means(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., H, W) -> (..., h, w) for `size` (h, w): the mean over each new cell's area, larger or smaller."""
    rows, columns = (
        area_overlap(side, wanted).to(frames) * (wanted / side)
        for side, wanted in zip(frames.shape[-2:], size, strict=True)
    )
    return rows @ frames @ columns.T
