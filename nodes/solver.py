"""S²Flow Solver: the higher-order solver as a SAMPLER for core's SamplerCustomAdvanced."""

from __future__ import annotations

from comfy_api.latest import io

from ..s2flow_core.latent.flow import boundary_sigma
from ..s2flow_core.solver.derivatives import SOURCES
from ..s2flow_core.solver.flow_solver import DEFAULT_ORDER, DEFAULT_SOURCE
from ..s2flow_core.trajectory.trajectory import Trajectory
from .host.found_by import found_by
from .host.inputs import CATEGORY, TrajectoryType, advanced
from .host.sampling.high_res import FlowSettings, solver_sampler


class S2FlowSolver(io.ComfyNode):
    """The solver alone, for core's SamplerCustomAdvanced."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowSolver",
            **found_by("sampler", "second order", "higher order", "taylor", "fewer steps"),
            display_name="S²Flow Solver",
            category=CATEGORY,
            description=(
                "The solver of the High-Res Sampler for core's SamplerCustomAdvanced, under any attention."
            ),
            inputs=[
                io.Int.Input(
                    "order",
                    default=DEFAULT_ORDER,
                    min=1,
                    max=3,
                    tooltip=(
                        "How exactly a step follows the flow; a higher order costs no time. 1 is Euler; the "
                        "paper uses 2."
                    ),
                ),
                io.Combo.Input(
                    "derivative",
                    options=list(SOURCES),
                    default=DEFAULT_SOURCE,
                    tooltip=(
                        "Where the terms above Euler come from: the small run (the paper), the large run's "
                        "own last steps, a blend of both, or nowhere. blend without a trajectory uses the "
                        "large run's own steps."
                    ),
                ),
                TrajectoryType.Input(
                    "trajectory",
                    optional=True,
                    tooltip=(
                        "Of the Low-Res Sampler. low_res needs it; blend without it uses the large run's own "
                        "last steps."
                    ),
                ),
                advanced(
                    io.Float.Input(
                        "boundary",
                        default=0.0,
                        min=0.0,
                        max=1.0,
                        step=0.005,
                        tooltip=(
                            "The sigma at which the small run changed from one expert to the other (Wan 2.2: "
                            "0.875 or 0.9); no difference is taken across it. 0: one model."
                        ),
                    )
                ),
            ],
            outputs=[
                io.Sampler.Output(tooltip="For SamplerCustomAdvanced, with the sigmas of S²Flow Upsample.")
            ],
        )

    @classmethod
    def execute(
        cls, order: int, derivative: str, trajectory: Trajectory | None = None, boundary: float = 0.0
    ) -> io.NodeOutput:
        switch_sigma = boundary_sigma(boundary) if boundary else None
        settings = FlowSettings(order, derivative, switch_sigma=switch_sigma)
        settings.require_record(trajectory)
        return io.NodeOutput(solver_sampler(settings, trajectory))
