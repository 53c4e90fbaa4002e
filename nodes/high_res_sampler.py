"""S²Flow High-Res Sampler: the steps at high resolution, guided twice by the low-resolution run."""

from __future__ import annotations

import logging

from comfy_api.latest import io

from ..s2flow_core.backends import BACKENDS
from ..s2flow_core.flow import check_sigmas
from ..s2flow_core.policy import WindowPlan
from ..s2flow_core.solver import DEFAULT_ORDER, DEFAULT_SOURCE, SOURCES
from ..s2flow_core.trajectory import Trajectory
from .host.flow_sampler import FlowSettings, flow_sampler, require_same_video
from .host.guided_sampling import latent_samples, sample_guided
from .host.model_facts import identity_of, require_flow_model, require_video_latent
from .host.schema import CATEGORY, TrajectoryType, WindowsType, advanced
from .host.window_attention_hook import hook_for_windows

log = logging.getLogger(__name__)


class S2FlowHighResSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowHighResSampler",
            display_name="S²Flow High-Res Sampler",
            category=CATEGORY,
            description=(
                "Runs the last steps at high resolution. The trajectory of the low-resolution run improves "
                "every step, and the windows limit what each attention head looks at. Leave either out to "
                "see what it does."
            ),
            inputs=[
                io.Noise.Input(
                    "noise", tooltip="From S²Flow Upsample, so that it agrees with the small video."
                ),
                io.Guider.Input("guider"),
                io.Sigmas.Input("sigmas", tooltip="From S²Flow Upsample: the steps that are left."),
                io.Latent.Input("latent_image", tooltip="From S²Flow Upsample: the enlarged clean estimate."),
                TrajectoryType.Input("trajectory", optional=True, tooltip="Needed for orders above 1."),
                WindowsType.Input(
                    "windows", optional=True, tooltip="Without windows, attention stays dense."
                ),
                io.Int.Input(
                    "order",
                    default=DEFAULT_ORDER,
                    min=1,
                    max=3,
                    tooltip="Order of the solver. 1 is Euler; the paper uses 2 and finds little gain in 3.",
                ),
                advanced(
                    io.Combo.Input(
                        "derivative",
                        options=list(SOURCES),
                        default=DEFAULT_SOURCE,
                        tooltip=(
                            "Where the solver's higher-order terms come from: the low-resolution run (the "
                            "paper), the high-resolution run's own last steps, a blend of both, or nowhere."
                        ),
                    )
                ),
                advanced(
                    io.Combo.Input(
                        "backend",
                        options=["auto", *BACKENDS],
                        default="auto",
                        tooltip=(
                            "How windowed attention is computed. auto measures once and takes the fastest; "
                            "any other choice must run or says why it cannot."
                        ),
                    )
                ),
                advanced(
                    io.Float.Input(
                        "skip_share",
                        default=0.0,
                        min=0.0,
                        max=0.5,
                        step=0.05,
                        tooltip=(
                            "Share of the steps that are forecast instead of computed: those in which the "
                            "small run changed least. 0 is off; 0.33 saves a third of the time."
                        ),
                    )
                ),
                advanced(
                    io.Float.Input(
                        "alignment",
                        default=0.0,
                        min=0.0,
                        max=1.0,
                        step=0.05,
                        tooltip=(
                            "Holds the coarse picture to the small video, most at the first step and ever "
                            "less. For objects that drift or double; 0 is off."
                        ),
                    )
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent")],
        )

    @classmethod
    def execute(
        cls,
        noise,
        guider,
        sigmas,
        latent_image,
        trajectory: Trajectory | None = None,
        windows: WindowPlan | None = None,
        order: int = DEFAULT_ORDER,
        derivative: str = DEFAULT_SOURCE,
        backend: str = "auto",
        skip_share: float = 0.0,
        alignment: float = 0.0,
    ) -> io.NodeOutput:
        check_sigmas(sigmas, "sigmas of the High-Res Sampler")
        require_flow_model(guider.model_patcher)
        samples = latent_samples(guider, latent_image)
        require_video_latent(guider.model_patcher, samples, "latent_image")
        if trajectory is not None:
            trajectory.require_finished()
            trajectory.check_fits(identity_of(guider.model_patcher))
            require_same_video(trajectory, samples)

        settings = FlowSettings(order, derivative, skip_share, alignment)
        settings.require_record(trajectory)

        hook = None
        if windows is not None:
            hook = hook_for_windows(guider.model_patcher, windows, backend)
            hook.require_grid_of(samples)
        sampler = flow_sampler(settings, trajectory)
        result = sample_guided(guider, noise, sigmas, latent_image, sampler, hook)
        if hook is not None:
            log.info("S²Flow windows: attention density %.3f achieved", hook.visited.density)
        return io.NodeOutput(latent_image | {"samples": result})
