"""The windows of a plan for the eye: over a frame, by layer and step, and over s."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from ..plan.window_plan import WindowPlan
from ..windows.extents import box_start, extent_triples
from ..windows.grid import TokenGrid, Triple
from .forecast import Forecast

_INCHES, _DOTS = (12.0, 8.0), 100
_PAPER, _INK = "#1a1b1e", "#e6e6e6"
_SHORT, _LONG = (0.20, 0.55, 0.95), (1.00, 0.80, 0.25)  # as in the plan's picture
_GREY = 0.35  # of a frame where there is none


@dataclass(frozen=True)
class Asked:
    """Which query is looked at. down, across, moment: its place as shares of the video, 0...1. step, layer:
    from 0."""

    down: float
    across: float
    moment: float
    step: int
    layer: int

    def tile(self, grid: TokenGrid) -> Triple:
        """(T, H, W) of the tile that the place lies in; the last of an axis may be partial."""
        places = (self.moment, self.down, self.across)
        t, h, w = (
            min(int(share * length), length - 1) // side
            for share, length, side in zip(places, grid.shape, grid.tile, strict=True)
        )
        return t, h, w


def windows_figure(plan: WindowPlan, asked: Asked, frame: Tensor | None, forecast: Forecast | None) -> Tensor:
    """(800, 1200, 3) in 0...1. frame: (H, W, 3) in 0...1 of the video at the asked moment, of any size.

    forecast: for the time over s; without it, the share of attention that is computed. Raises ImportError
    without matplotlib.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=_INCHES, dpi=_DOTS, facecolor=_PAPER, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    (over_frame, kept), (seen, curve) = figure.subplots(2, 2)
    _draw_windows(over_frame, plan, asked, frame)
    first = plan.first_taken
    _draw_grid(figure, seen, plan.head_densities, "Density: share of the video that is seen", first)
    _draw_grid(figure, kept, plan.coverage, "Coverage: share of the attention that is kept", first)
    _draw_curve(curve, plan, forecast)
    for axes in figure.axes:
        _in_ink(axes)
    canvas.draw()
    picture = numpy.array(canvas.buffer_rgba())[..., :3]
    return torch.as_tensor(picture).float() / 255


def boxes_over_frame(plan: WindowPlan, asked: Asked) -> list[tuple[float, float, float, float, float]]:
    """One per head: left, top, width, height of its window and its length in time, as shares, 0...1."""
    tiles, tile, shape = plan.grid.tiles, plan.grid.tile, plan.grid.shape
    boxes: list[tuple[float, float, float, float, float]] = []
    for extent in extent_triples(plan.extents_at(asked.step, asked.layer)):
        start = box_start(asked.tile(plan.grid), extent, tiles)
        # The last tile may be partial.
        begins = [first * side / length for first, side, length in zip(start, tile, shape)]
        ends = [
            min((first + count) * side, length) / length
            for first, count, side, length in zip(start, extent, tile, shape)
        ]
        long, tall, wide = (end - begin for begin, end in zip(begins, ends))
        boxes.append((begins[2], begins[1], wide, tall, long))
    return boxes


def _draw_windows(axes: Any, plan: WindowPlan, asked: Asked, frame: Tensor | None) -> None:
    from matplotlib.patches import Rectangle

    _, rows, columns = plan.grid.shape
    shown = torch.full((rows, columns, 3), _GREY) if frame is None else frame.detach().float().clamp(0, 1)
    axes.imshow(shown.cpu().numpy(), extent=(0, 1, 1, 0), aspect=rows / columns)
    short, long = torch.tensor(_SHORT), torch.tensor(_LONG)
    for left, top, wide, tall, time in boxes_over_frame(plan, asked):
        color = tuple(float(part) for part in torch.lerp(short, long, time))
        box: dict[str, Any] = {"facecolor": (*color, 0.06), "edgecolor": (*color, 0.9), "linewidth": 1.5}
        axes.add_patch(Rectangle((left, top), wide, tall, **box))
    axes.plot([asked.across], [asked.down], "+", color="white", markersize=12, markeredgewidth=2)
    axes.set_title(
        f"What the heads of layer {asked.layer + 1} see from +, step {asked.step + 1}\n"
        "blue: short in time, yellow: the whole video"
    )
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_grid(figure: Any, axes: Any, shares: Tensor, title: str, first_taken: int) -> None:
    """shares: (steps, layers, heads)."""
    shares = shares.mean(dim=-1)  # (steps, layers)
    steps, layers = shares.shape
    extent = (0.5, steps + 0.5, layers + 0.5, 0.5)
    image = axes.imshow(shares.T.float().numpy(), vmin=0, vmax=1, extent=extent, aspect="auto")
    _in_ink(figure.colorbar(image, ax=axes).ax)
    if first_taken:
        axes.axvline(first_taken + 0.5, color=_INK, linestyle="--", linewidth=1)
        title += "\nthe large run begins at the dashed line"
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.set_ylabel("layer")


def _draw_curve(axes: Any, plan: WindowPlan, forecast: Forecast | None) -> None:
    """What is kept, and what it costs, as s moves; the present s is marked."""
    axes.set_title("As s moves (dashed: the present s)")
    axes.set_xlabel("s")
    axes.set_xlim(0, 1.02)
    axes.axvline(plan.requested_density, color=_INK, linestyle="--", linewidth=1)
    axes.set_ylabel("coverage", color="#7fd17f")
    axes.set_ylim(0, 1.02)
    if plan.curve is None:
        axes.plot([plan.requested_density], [plan.kept], "o", color="#7fd17f")
        return
    axes.plot(plan.curve.s, plan.curve.coverage, color="#7fd17f")
    cost: Any = axes.twinx()
    if forecast is None:
        cost.plot(plan.curve.s, plan.curve.density, color="#f0b35a")
        cost.set_ylabel("share of attention that is computed", color="#f0b35a")
    else:
        cost.plot(plan.curve.s, [forecast.step(density) for density in plan.curve.density], color="#f0b35a")
        cost.set_ylabel("seconds of a large step, predicted", color="#f0b35a")
    cost.set_ylim(bottom=0)


def _in_ink(axes: Any) -> None:
    axes.set_facecolor(_PAPER)
    axes.title.set_color(_INK)
    axes.title.set_fontsize(11)
    axes.tick_params(colors=_INK)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(_INK if label.get_color() == "black" else label.get_color())
    for side in axes.spines.values():
        side.set_color("#555")
