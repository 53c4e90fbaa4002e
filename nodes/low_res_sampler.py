"""S²Flow Low-Res Sampler: an ordinary Euler run that writes down what the HR run will need."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..s2flow_core.latent.flow import check_sigmas
from ..s2flow_core.trajectory.recorder import TrajectoryRecorder
from ..s2flow_core.trajectory.trajectory import Trajectory
from .host.attention.for_low_res import CaptureSettings, hook_for_small_run
from .host.counted import counted
from .host.found_by import found_by
from .host.inputs import (
    CATEGORY,
    DEFAULT_BOUNDARY,
    TrajectoryType,
    advanced,
    boundary_input,
    gpus_input,
    low_noise_input,
    resume_input,
)
from .host.model.checks import diffusion_model, family_or_unknown, identity_of
from .host.model.devices import gpus_to_use
from .host.resume.kept_run import Given, KeptRun
from .host.sampling.experts import Experts
from .host.sampling.given_sampler import require_recordable
from .host.sampling.guided import sample_in_parts
from .host.sampling.latents import finished, held_in_run, latent_samples
from .host.sampling.low_res import (
    LowResRun,
    RecordedPart,
    require_nothing_held,
    require_one_architecture,
    require_same_capture,
)
from .host.sampling.recorded_video import RecordedVideo
from .host.sampling.streams import VideoLatent
from .host.steps_ahead import require_steps_ahead, warn_of_missing_attention

PRECISIONS = {"half": torch.float16, "full": torch.float32}


class S2FlowLowResSampler(io.ComfyNode):
    """The small video, and the record of its run that everything at the large size is made from."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowLowResSampler",
            **found_by("ksampler", "sampler", "two-pass", "first pass", "preview", "record", essential=True),
            display_name="S²Flow Low-Res Sampler",
            category=CATEGORY,
            description=(
                "Samples the video at the size the model was trained for, and records the run: every step's "
                "estimate and how far each attention head looks. It does not depend on t_i or s, so moving "
                "those sliders never runs it again."
            ),
            inputs=[
                io.Noise.Input(
                    "noise",
                    tooltip="Another seed, another video. Keep it fixed while you move t_i or s.",
                ),
                io.Guider.Input(
                    "guider", tooltip="The model with its prompts and CFG, as for SamplerCustomAdvanced."
                ),
                io.Sigmas.Input(
                    "sigmas",
                    tooltip=(
                        "The whole schedule, down to 0. The paper uses 50 steps. A part of it where a second "
                        "Low-Res Sampler continues this one."
                    ),
                ),
                io.Latent.Input("latent_image", tooltip="An empty video latent at the model's own size."),
                TrajectoryType.Input(
                    "trajectory",
                    optional=True,
                    tooltip=(
                        "Of a Low-Res Sampler that stopped above 0, to be continued, e.g. with another CFG. "
                        "Then latent_image is that sampler's latent, and noise is DisableNoise."
                    ),
                ),
                low_noise_input(),
                advanced(
                    io.Int.Input(
                        "capture_rows",
                        default=256,
                        min=0,
                        max=4096,
                        tooltip=(
                            "Query tokens, spread over the whole video, whose attention is measured in every "
                            "layer and step. More is more exact and slower. 0 records no attention, so no "
                            "windows can be made."
                        ),
                    )
                ),
                advanced(
                    io.Boolean.Input(
                        "capture_error",
                        default=True,
                        tooltip=(
                            "Also measures what each window would change in the output, which the policy "
                            "'error' of S²Flow Window Mask needs. Off: a cheaper capture, for the other "
                            "policies."
                        ),
                    )
                ),
                boundary_input(),
                advanced(
                    io.Combo.Input(
                        "precision",
                        options=list(PRECISIONS),
                        default="half",
                        tooltip=(
                            "Of the recorded tensors, which stay in main memory. half is exact to three "
                            "digits and takes half the memory and disk of full."
                        ),
                    )
                ),
                resume_input(),
                io.Sampler.Input(
                    "sampler",
                    optional=True,
                    tooltip=(
                        "Another sampler than Euler for the small run, from KSampler Select: res_multistep, "
                        "dpmpp_2m, uni_pc and others that ask the model once per step. The large run keeps "
                        "its own solver. Those that draw noise at every step (ancestral, sde, lcm) want "
                        "derivative 'history' there."
                    ),
                ),
                gpus_input(),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The low-resolution video, for a preview."),
                TrajectoryType.Output(
                    display_name="trajectory",
                    tooltip="The record of the run, for S²Flow Upsample, Window Mask and High-Res Sampler.",
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
        capture_rows: int = 256,
        capture_error: bool = True,
        guider_low_noise=None,
        boundary: float = DEFAULT_BOUNDARY,
        precision: str = "half",
        resume_every: int = 0,
        sampler=None,
        gpus: int = 1,
    ) -> io.NodeOutput:
        check_sigmas(sigmas, "sigmas of the Low-Res Sampler", to_zero=False)
        earlier = 0 if trajectory is None else trajectory.steps
        require_steps_ahead(cls.hidden, earlier + len(sigmas) - 1)
        experts = Experts.of(guider, guider_low_noise, boundary)
        samples = latent_samples(guider, latent_image)
        given = VideoLatent.of(samples)
        experts.check(given, "the Low-Res Sampler")
        models = [identity_of(expert.model_patcher) for expert in experts.guiders]
        require_one_architecture(models[0], models[-1])
        held = held_in_run(guider, latent_image, given.video)
        if trajectory is not None:
            require_nothing_held(latent_image)
            trajectory.check_fits(models[0])
            trajectory.check_continues(sigmas, tuple(given.video.shape))
            drawn = noise.generate_noise(latent_image | {"samples": samples})
            trajectory.check_resumes(given.video, VideoLatent.of(drawn).video)
            require_same_capture(trajectory, capture_rows, capture_error)

        family = family_or_unknown(guider.model_patcher)
        capture = CaptureSettings(
            family.layers(diffusion_model(guider.model_patcher)), capture_rows, capture_error
        )
        warn_of_missing_attention(cls.hidden, capture)
        parts, gpus = [], gpus_to_use(gpus)
        for expert, steps in experts.shares(sigmas):
            hook = hook_for_small_run(expert, given.video, family, capture, gpus)
            parts.append(RecordedPart(expert, steps, TrajectoryRecorder(PRECISIONS[precision]), hook))
        if sampler is not None:
            require_recordable(sampler, resume_every)
        run = LowResRun(sigmas, parts, sampler)
        settings = (sigmas, trajectory, capture_rows, capture_error, precision, experts.switch_sigma)
        whole = Given(experts.guiders, noise, latent_image | {"samples": samples}, settings)
        kept = KeptRun.of_node(cls.hidden, resume_every, whole)
        kept.resume(run)
        result = sample_in_parts(run.parts(), noise, sigmas, latent_image)
        video = RecordedVideo.of_run(guider, given, held)
        recorded = run.trajectory(VideoLatent.of(result), video, trajectory)
        kept.finished()
        return io.NodeOutput(finished(latent_image, result), counted(recorded))
