"""A picture of a window plan: every head's window as a box in a small frame, layers down, heads across."""

from __future__ import annotations

import torch
from torch import Tensor

from .window_plan import WindowPlan

# Height of one head's frame in pixels, and the gap between frames; many heads make them smaller.
_TALLEST_FRAME, _SMALLEST_FRAME, _GAP = 48, 12, 3
_WIDEST_PICTURE = 1600
_BACKGROUND, _FRAME = (0.07, 0.07, 0.08), (0.17, 0.18, 0.20)
# From a window of one tile in time to one that spans the video.
_SHORT, _LONG = (0.20, 0.55, 0.95), (1.00, 0.80, 0.25)


def plan_picture(plan: WindowPlan) -> Tensor:
    """(height, width, 3) in 0..1: one row per layer, one frame per head.

    The box is as high and wide as the window, as a share of the video's frame; its colour goes from blue
    (short in time) to yellow (the whole video). Steps are laid over each other, so a box with soft edges is
    one that changes during the run.
    """
    shares = plan.extents.float() / torch.tensor(plan.grid.tiles)  # (steps, layers, heads, 3)
    height, width = _frame_size(plan)
    # Distance from the middle, as a share of the frame: a box covers what is nearer than its half.
    rows = 2 * ((torch.arange(height) + 0.5) / height - 0.5).abs()
    columns = 2 * ((torch.arange(width) + 0.5) / width - 0.5).abs()
    time, tall, wide = shares.unbind(-1)  # each (steps, layers, heads)
    inside = (rows[:, None] <= tall[..., None, None]) & (columns <= wide[..., None, None])
    short, long = torch.tensor(_SHORT), torch.tensor(_LONG)
    colors = torch.lerp(short, long, time[..., None])[..., None, None, :]  # (steps, layers, heads, 1, 1, 3)
    boxes = torch.where(inside[..., None], colors, torch.tensor(_FRAME)).mean(dim=0)
    framed = torch.nn.functional.pad(boxes, (0, 0, 0, _GAP, 0, _GAP), value=-1.0)
    picture = framed.permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)  # (layers*height, heads*width, 3)
    picture = torch.nn.functional.pad(picture, (0, 0, _GAP, 0, _GAP, 0), value=-1.0)
    return torch.where(picture < 0, torch.tensor(_BACKGROUND), picture)


def _frame_size(plan: WindowPlan) -> tuple[int, int]:
    """(height, width) in pixels of one head's frame, in the video's proportions."""
    heads = plan.extents.shape[2]
    _, rows, columns = plan.grid.shape
    widest = _WIDEST_PICTURE // heads - _GAP
    height = min(_TALLEST_FRAME, max(_SMALLEST_FRAME, widest * rows // columns))
    return height, max(1, round(height * columns / rows))
