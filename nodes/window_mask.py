"""S²Flow Window Mask: the sparsity slider."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import torch
from comfy_api.latest import io, ui

from ..s2flow_core.latent.flow import check_sigmas
from ..s2flow_core.outlook.forecast import Forecast, density_of_run
from ..s2flow_core.outlook.report import LargeRun, report_of
from ..s2flow_core.plan.curve import Curve
from ..s2flow_core.plan.curve_planning import curve_of, curve_steps
from ..s2flow_core.plan.picture import plan_picture
from ..s2flow_core.plan.policies import BY_ERROR, DEFAULT_POLICY, POLICIES, plan_windows, planning_steps
from ..s2flow_core.plan.window_plan import WindowPlan
from ..s2flow_core.trajectory.trajectory import Trajectory
from ..s2flow_core.windows.grid import TokenGrid, choose_tile
from .host.counted import counted
from .host.families.family import patched_grid
from .host.found_by import found_by
from .host.inputs import CATEGORY, TrajectoryType, WindowsType, advanced
from .host.progress import progress
from .host.sampling.record_at_high_res import require_same_video
from .host.sampling.streams import VideoLatent
from .host.size.enlarge import pixels_per_cell
from .host.steps_ahead import NO_ATTENTION_SEEN

log = logging.getLogger(__name__)


class S2FlowWindowMask(io.ComfyNode):
    """The sparsity slider: which part of the video each attention head looks at, with a report."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowWindowMask",
            **found_by(
                "sparse attention", "sparsity", "window attention", "faster", "speed up", essential=True
            ),
            display_name="S²Flow Window Mask",
            category=CATEGORY,
            description=(
                "Chooses for every step, layer and attention head the 3D window that holds most of what the "
                "head looked at in the low-resolution run."
            ),
            inputs=[
                TrajectoryType.Input(
                    "trajectory", tooltip="Of the Low-Res Sampler: how far every attention head looked."
                ),
                io.Latent.Input("latent", tooltip="The latent from S²Flow Upsample; only its size is used."),
                io.Float.Input(
                    "s",
                    display_name="sparsity s",
                    default=0.5,
                    min=0.05,
                    max=1.0,
                    step=0.05,
                    display_mode=io.NumberDisplay.slider,
                    tooltip=(
                        "Share of the video that each attention head looks at. 1 is everything: slowest, "
                        "equal to ordinary attention. 0.5 is the paper's choice: about half the cost."
                    ),
                ),
                io.Combo.Input(
                    "policy",
                    options=list(POLICIES),
                    default=DEFAULT_POLICY,
                    tooltip=(
                        "error: each head gets the window that it needs, for the least change in the output "
                        "at this cost. error_run: likewise, and steps that move the video further get more "
                        "than others. paper: every head gets the same volume, in the shape that covers "
                        "most. budget: like error, but for the most attention inside the windows. fixed: "
                        "one shape for all, for comparison only."
                    ),
                ),
                advanced(
                    io.Boolean.Input(
                        "tail",
                        default=True,
                        tooltip=(
                            "What a head does not look at still counts: every skipped tile enters as its "
                            "mean. Keeps global context at small s, for a little more time."
                        ),
                    )
                ),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip=(
                        "From S²Flow Upsample: the steps that are left, for the time in the report. The "
                        "policy error_run shares what may be looked at among these steps; without them, "
                        "among all that were recorded."
                    ),
                ),
            ],
            outputs=[
                WindowsType.Output(
                    display_name="windows", tooltip="For the High-Res Sampler or S²Flow Apply Windows."
                ),
                io.String.Output(
                    display_name="report",
                    tooltip=(
                        "First what the large run will take, then a verdict on s, then which windows were "
                        "chosen and how much of the attention they keep."
                    ),
                ),
                io.Image.Output(
                    display_name="picture",
                    tooltip="Every head's window as a box; blue is short in time, yellow spans the video.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        trajectory: Trajectory,
        latent,
        s: float,
        policy: str = DEFAULT_POLICY,
        tail: bool = True,
        sigmas=None,
    ) -> io.NodeOutput:
        trajectory.require_finished()
        if not trajectory.model.layers:
            raise ValueError(NO_ATTENTION_SEEN)
        if trajectory.reach is None:
            raise ValueError(
                "This trajectory holds no attention record, so there is nothing to choose windows from. "
                "Set capture_rows of the Low-Res Sampler above 0 and run it again, or leave Window Mask out: "
                "without windows attention is dense."
            )
        samples = VideoLatent.of(latent["samples"]).video
        if samples.ndim != 5:
            raise ValueError(
                f"latent has the shape {tuple(samples.shape)}; connect the video latent from S²Flow Upsample."
            )
        require_same_video(trajectory, samples)
        _, height, width = patched_grid(samples, trajectory.patch)
        # Under context windows attention sees fewer frames at a time than the video has.
        shape = (trajectory.reach.shape[0], height, width)
        grid = TokenGrid(shape, choose_tile(shape))
        first_sigma = math.inf
        if sigmas is not None:
            check_sigmas(sigmas, "sigmas of the Window Mask")
            first_sigma = float(sigmas[0])
        recorded = trajectory.sigmas[: trajectory.steps].to(torch.float32)
        reach = trajectory.reach
        more = curve_steps(reach, recorded, policy, first_sigma)
        if tail and policy in BY_ERROR and reach.error is not None and reach.tail_error is None:
            log.info(
                "S²Flow: this trajectory was recorded by an earlier version, which did not measure what a "
                "tail makes up for. The policy '%s' chooses windows as if there were none; run the Low-Res "
                "Sampler again for better ones.",
                policy,
            )
        step_done = progress(planning_steps(reach, policy) + more)
        plan = plan_windows(reach, recorded, grid, s, policy, tail, step_done, first_sigma)
        curve = curve_of(reach, recorded, grid, policy, tail, first_sigma, step_done)
        first = None if sigmas is None else plan.step_at(first_sigma)
        plan = replace(plan, curve=curve, first_taken=first or 0)
        report = report_of(large_run(trajectory, plan, curve, samples, sigmas))
        return io.NodeOutput(counted(plan), report, plan_picture(plan)[None], ui=ui.PreviewText(report))


def large_run(
    trajectory: Trajectory,
    plan: WindowPlan,
    curve: Curve,
    samples: torch.Tensor,
    sigmas: torch.Tensor | None,
) -> LargeRun:
    """What the report tells. samples: (B, C, T, H, W) at the large size; sigmas: (N+1,) that are left."""
    cell = pixels_per_cell(None, trajectory.model.latent_format)
    seconds, reach = trajectory.step_seconds, trajectory.reach
    assert reach is not None, "without a record there is no plan"
    return LargeRun(
        plan=plan,
        density=density_of_run(plan, () if sigmas is None else sigmas.tolist()),
        steps=None if sigmas is None else len(sigmas) - 1,
        size=f"{samples.shape[-1] * cell}×{samples.shape[-2] * cell}",
        curve=curve,
        forecast=None if seconds is None else Forecast.of(seconds, reach.shape, plan),
    )
