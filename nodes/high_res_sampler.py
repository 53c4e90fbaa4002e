"""S²Flow High-Res Sampler: the steps at high resolution, guided twice by the low-resolution run."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..s2flow_core.attention.registry import BACKENDS
from ..s2flow_core.attention.rotary import DEFAULT_ROPE, ROPE_MODES
from ..s2flow_core.latent.flow import check_sigmas
from ..s2flow_core.plan.window_plan import WindowPlan
from ..s2flow_core.solver.derivatives import SOURCES
from ..s2flow_core.solver.flow_solver import DEFAULT_ORDER, DEFAULT_SOURCE
from ..s2flow_core.trajectory.trajectory import Trajectory
from .host.attention.feed_forward import BY_FREE_MEMORY, FeedForwardChunks
from .host.attention.for_high_res import hook_for, rope_for, size_change
from .host.counted import counted
from .host.found_by import found_by
from .host.inputs import (
    CATEGORY,
    DEFAULT_BOUNDARY,
    TrajectoryType,
    WindowsType,
    advanced,
    boundary_input,
    feed_forward_input,
    gpus_input,
    low_noise_input,
    resume_input,
)
from .host.model.checks import identity_of
from .host.model.devices import gpus_to_use
from .host.prompt_graph import place_of
from .host.resume.kept_run import Given, KeptRun
from .host.sampling.experts import Experts
from .host.sampling.guided import Part, sample_in_parts
from .host.sampling.high_res import FlowRun, FlowSettings, recorder_after
from .host.sampling.latents import finished, held_in_run, latent_samples, warn_of_dropped_mask
from .host.sampling.presets import AS_SET, Method, method_of, preset_input, way_back
from .host.sampling.record_at_high_res import require_same_video
from .host.sampling.recorded_video import RecordedVideo
from .host.sampling.streams import VideoLatent
from .host.steps_ahead import feeds, require_steps_ahead

TRAJECTORY_OUTPUT = 1
NOT_RECORDED = (
    "The trajectory output of the High-Res Sampler is connected, but the run is not written down. Switch on "
    "its input record, or remove the connection."
)


class S2FlowHighResSampler(io.ComfyNode):
    """The large video: the steps that are left, faster by windows and more exact by the small run."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowHighResSampler",
            **found_by(
                "upscale",
                "4k",
                "2k",
                "hires fix",
                "super resolution",
                "two-pass",
                "second pass",
                "ksampler",
                "faster",
                essential=True,
            ),
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
                io.Guider.Input(
                    "guider",
                    tooltip=(
                        "The same model and prompts as in the small run; of image to video, with the picture "
                        "at the large size."
                    ),
                ),
                io.Sigmas.Input("sigmas", tooltip="From S²Flow Upsample: the steps that are left."),
                io.Latent.Input("latent_image", tooltip="From S²Flow Upsample: the enlarged clean estimate."),
                TrajectoryType.Input(
                    "trajectory",
                    optional=True,
                    tooltip=(
                        "Of the Low-Res Sampler: makes every step more exact, for no time, and is needed for "
                        "alignment, skip_share and rope position or ntk. Without it, blend uses this run's "
                        "own last steps."
                    ),
                ),
                WindowsType.Input(
                    "windows",
                    optional=True,
                    tooltip=(
                        "From S²Flow Window Mask: less to look at, less time. Without windows attention is "
                        "dense: slowest, and nothing is left out."
                    ),
                ),
                low_noise_input(),
                io.Int.Input(
                    "order",
                    default=DEFAULT_ORDER,
                    min=1,
                    max=3,
                    tooltip=(
                        "How exactly a step follows the flow, for no time. 1 is Euler; the paper uses 2 and "
                        "finds little gain in 3."
                    ),
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
                            "any other choice must run or says why it cannot. triton_windows_int8 rounds "
                            "queries and keys to eight bits; auto takes it only where the attention that "
                            "you have (Sage) does so too."
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
                boundary_input(),
                advanced(
                    io.Combo.Input(
                        "rope",
                        options=[DEFAULT_ROPE, *ROPE_MODES],
                        default=DEFAULT_ROPE,
                        tooltip=(
                            "How positions beyond the small run's are handled. none: as they are (the "
                            "paper). position: squeezed into the small run's range, for a model that was "
                            "trained at one size. ntk: slower rotations. auto: what measured best, none."
                        ),
                    )
                ),
                advanced(
                    io.Boolean.Input(
                        "attention_temperature",
                        default=False,
                        tooltip=(
                            "Sharpens attention a little, because there are more tokens to look at than in "
                            "the small run."
                        ),
                    )
                ),
                resume_input(),
                advanced(
                    io.Boolean.Input(
                        "record",
                        default=False,
                        tooltip=(
                            "Also writes this run down, so that a second S²Flow Upsample can go on from it "
                            "to a still larger size. Keeps two latents per step in main memory."
                        ),
                    )
                ),
                feed_forward_input(),
                gpus_input(),
                preset_input(),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The large video, to be decoded by the VAE."),
                TrajectoryType.Output(
                    display_name="trajectory",
                    tooltip="Of this run, for another enlargement. Only with record switched on.",
                ),
            ],
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
        guider_low_noise=None,
        order: int = DEFAULT_ORDER,
        derivative: str = DEFAULT_SOURCE,
        backend: str = "auto",
        skip_share: float = 0.0,
        alignment: float = 0.0,
        boundary: float = DEFAULT_BOUNDARY,
        rope: str = DEFAULT_ROPE,
        attention_temperature: bool = False,
        resume_every: int = 0,
        record: bool = False,
        feed_forward_chunks: int = BY_FREE_MEMORY,
        gpus: int = 1,
        preset: str = AS_SET,
    ) -> io.NodeOutput:
        require_record_if_asked(cls.hidden, record)
        require_steps_ahead(cls.hidden, len(sigmas) - 1)
        check_sigmas(sigmas, "sigmas of the High-Res Sampler")
        experts = Experts.of(guider, guider_low_noise, boundary)
        samples = latent_samples(guider, latent_image)
        given = VideoLatent.of(samples)
        experts.check(given, "the High-Res Sampler")
        if trajectory is not None:
            for expert in experts.guiders:
                trajectory.check_fits(identity_of(expert.model_patcher))
            trajectory.require_finished()
            require_same_video(trajectory, given.video)
            warn_of_dropped_mask(trajectory, latent_image)
        as_set = Method(order, derivative, skip_share, alignment, rope, attention_temperature)
        use = method_of(preset, as_set)
        settings = FlowSettings(
            use.order,
            use.derivative,
            use.skip_share,
            use.alignment,
            experts.switch_sigma,
            way_back(preset),
        )
        settings.require_record(trajectory)

        rope = rope_for(use.rope)
        change = size_change(trajectory, given.video, windows, rope, use.attention_temperature)
        held = held_in_run(guider, latent_image, given.video) if record else None
        run = FlowRun(settings, trajectory, sigmas, recorder_after(trajectory) if record else None)
        parts, gpus = [], gpus_to_use(gpus)
        for expert, steps in experts.shares(sigmas):
            feed_forward = FeedForwardChunks(feed_forward_chunks)
            hook = hook_for(expert, given.video, windows, backend, change, feed_forward, gpus)
            if steps.start < steps.stop:
                parts.append(Part(expert, steps, run, hook))
        chosen = (sigmas, trajectory, windows, settings, rope, use.attention_temperature, record)
        whole = Given(experts.guiders, noise, latent_image | {"samples": samples}, chosen)
        kept = KeptRun.of_node(cls.hidden, resume_every, whole)
        kept.resume(run)
        result = sample_in_parts(parts, noise, sigmas, latent_image)
        recorded: Any = ExecutionBlocker(NOT_RECORDED)
        if record:
            video = RecordedVideo.of_run(guider, given, held)
            recorded = counted(run.recorded(VideoLatent.of(result), video))
        kept.finished()
        return io.NodeOutput(finished(latent_image, result), recorded)


def require_record_if_asked(hidden: Any, record: bool) -> None:
    """Raises before the run if something is to be made from a record that nobody writes."""
    place = place_of(hidden)
    if not record and place is not None and feeds(place, TRAJECTORY_OUTPUT):
        raise ValueError(NOT_RECORDED)
