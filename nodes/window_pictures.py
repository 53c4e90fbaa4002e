"""S²Flow Window Pictures: the windows over a frame, by layer and step, and what moving s would do."""

from __future__ import annotations

import logging

from comfy_api.latest import io, ui
from torch import Tensor

from ..s2flow_core.outlook.forecast import Forecast
from ..s2flow_core.outlook.pictures import Asked, windows_figure
from ..s2flow_core.plan.picture import plan_picture
from ..s2flow_core.plan.window_plan import WindowPlan
from ..s2flow_core.trajectory.trajectory import Trajectory
from .host.found_by import found_by
from .host.inputs import CATEGORY, TrajectoryType, WindowsType, advanced

log = logging.getLogger(__name__)


class S2FlowWindowPictures(io.ComfyNode):
    """Where the heads look, how much they keep in every layer and step, and what another s would cost."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowWindowPictures",
            **found_by("windows", "attention map", "density", "visualize", "sparsity"),
            display_name="S²Flow Window Pictures",
            category=CATEGORY,
            description=(
                "Draws the windows of one place over a frame, density and coverage of every layer and step, "
                "and what is kept and how long a step takes as s moves."
            ),
            inputs=[
                WindowsType.Input("windows", tooltip="From S²Flow Window Mask: what is drawn."),
                io.Image.Input(
                    "frames",
                    optional=True,
                    tooltip="Decoded frames of the small video, to draw over. Without them, over grey.",
                ),
                TrajectoryType.Input(
                    "trajectory",
                    optional=True,
                    tooltip=(
                        "Of the Low-Res Sampler, which knows what its steps took: the time of a large step "
                        "as s moves. Without it, the share of attention that is computed."
                    ),
                ),
                place_input("across", "From the left (0) to the right (1): the place that looks."),
                place_input("down", "From the top (0) to the bottom (1): the place that looks."),
                place_input("moment", "From the first frame (0) to the last (1): when it looks."),
                number_input("layer", "Layer whose heads are drawn, from 1; 0: the middle one."),
                number_input(
                    "step",
                    "Recorded step whose windows are drawn, from 1; 0: the middle one of the large run.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="picture", tooltip="All four drawings, for saving or further nodes."
                )
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        windows: WindowPlan,
        frames: Tensor | None = None,
        trajectory: Trajectory | None = None,
        across: float = 0.5,
        down: float = 0.5,
        moment: float = 0.5,
        layer: int = 0,
        step: int = 0,
    ) -> io.NodeOutput:
        for name, share in (("across", across), ("down", down), ("moment", moment)):
            if not 0 <= share <= 1:  # also what is no number
                raise ValueError(f"{name} is {share:g}, but a place in the video lies from 0 to 1.")
        steps, layers = windows.extents.shape[:2]
        at = chosen(step, steps, "step", windows.first_taken)
        asked = Asked(down, across, moment, at, chosen(layer, layers, "layer"))
        frame = None if frames is None else frames[min(int(moment * len(frames)), len(frames) - 1), ..., :3]
        forecast = None
        if trajectory is not None and trajectory.step_seconds is not None and trajectory.reach is not None:
            forecast = Forecast.of(trajectory.step_seconds, trajectory.reach.shape, windows)
        try:
            picture = windows_figure(windows, asked, frame, forecast)
        except ImportError as reason:
            log.warning(
                "S²Flow draws every head's window alone, because matplotlib is missing (%s). Install it with "
                "ComfyUI's Python: python -m pip install matplotlib",
                reason,
            )
            picture = plan_picture(windows)
        return io.NodeOutput(picture[None], ui=ui.PreviewImage(picture[None], cls=cls))


def place_input(name: str, tooltip: str) -> io.Float.Input:
    return advanced(io.Float.Input(name, default=0.5, min=0.0, max=1.0, step=0.05, tooltip=tooltip))


def number_input(name: str, tooltip: str) -> io.Int.Input:
    return advanced(io.Int.Input(name, default=0, min=0, max=10000, tooltip=tooltip))


def chosen(number: int, count: int, what: str, first: int = 0) -> int:
    """From 0; 0 is the middle of those from `first` on. Raises for one that the plan does not have."""
    if number > count:
        raise ValueError(
            f"{what} is {number}, but these windows have {count}. Choose 1 to {count}, or 0 for the middle."
        )
    return (first + count) // 2 if number == 0 else number - 1
