"""All windows of a grid in one flat list, as tables of coverage and of cost count them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..windows.grid import TokenGrid


def window_index(grid: TokenGrid, extents: Tensor) -> Tensor:
    """(..., 3) extents -> (...) position in a flattened (nT, nH, nW) table."""
    _, height, width = grid.tiles
    t, h, w = (extents.long() - 1).unbind(-1)
    return (t * height + h) * width + w


def window_extents(grid: TokenGrid, index: Tensor) -> Tensor:
    """The reverse of `window_index`."""
    _, height, width = grid.tiles
    return torch.stack((index // (height * width), index // width % height, index % width), dim=-1) + 1
