"""S²Flow Low-Res Sampler: an ordinary Euler run that writes down what the HR run will need."""

from __future__ import annotations

import time
from functools import reduce

import torch
from comfy_api.latest import io

from ..s2flow_core.latent.flow import check_sigmas
from ..s2flow_core.latent.held_latent import HeldLatent
from ..s2flow_core.trajectory.recorder import TrajectoryRecorder
from ..s2flow_core.trajectory.trajectory import ModelIdentity, Trajectory
from .host.attention.capture import capture_for
from .host.families.family import patched_grid
from .host.inputs import CATEGORY, DEFAULT_BOUNDARY, TrajectoryType, advanced, boundary_input, low_noise_input
from .host.model.checks import (
    diffusion_model,
    family_or_unknown,
    identity_of,
    require_flow_model,
    require_video_latent,
)
from .host.sampling.experts import steps_of_experts
from .host.sampling.guided import sample_in_parts
from .host.sampling.latents import held_latent, latent_samples
from .host.sampling.low_res import RecordedPart, RecordingRun
from .host.size.conditioning_size import check_conditioning_size

PRECISIONS = {"half": torch.float16, "full": torch.float32}


class S2FlowLowResSampler(io.ComfyNode):
    """The small video, and the record of its run that everything at the large size is made from."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowLowResSampler",
            display_name="S²Flow Low-Res Sampler",
            category=CATEGORY,
            description=(
                "Samples the video at the size the model was trained for, and records the run: every step's "
                "estimate and how far each attention head looks. It does not depend on t_i or s, so moving "
                "those sliders never runs it again."
            ),
            inputs=[
                io.Noise.Input("noise"),
                io.Guider.Input("guider"),
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
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The low-resolution video, for a preview."),
                TrajectoryType.Output(display_name="trajectory"),
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
    ) -> io.NodeOutput:
        check_sigmas(sigmas, "sigmas of the Low-Res Sampler", to_zero=False)
        guiders = [guider] if guider_low_noise is None else [guider, guider_low_noise]
        samples = latent_samples(guider, latent_image)
        for given in guiders:
            require_flow_model(given.model_patcher)
            require_video_latent(given.model_patcher, samples, "latent_image")
            check_conditioning_size(given, (samples.shape[-2], samples.shape[-1]), "the Low-Res Sampler")
        patcher = guider.model_patcher
        identity = identity_of(patcher)
        require_one_architecture(identity, identity_of(guiders[-1].model_patcher))
        family = family_or_unknown(patcher)
        held = held_latent(latent_image, samples)
        if trajectory is not None:
            require_nothing_held(held)
            trajectory.check_fits(identity)
            trajectory.check_continues(sigmas, tuple(samples.shape))
            trajectory.check_resumes(samples, noise.generate_noise(latent_image | {"samples": samples}))
            require_same_capture(trajectory, capture_rows, capture_error)

        patch = family.patch(diffusion_model(patcher))
        grid = patched_grid(samples, patch)
        switch_sigma = None if guider_low_noise is None else boundary
        parts = []
        for given, steps in zip(guiders, steps_of_experts(sigmas, switch_sigma), strict=True):
            capture = capture_for(given, samples, family, capture_rows, capture_error)
            if steps.start < steps.stop:
                parts.append(RecordedPart(given, steps, TrajectoryRecorder(PRECISIONS[precision]), capture))

        started = time.perf_counter()
        run = RecordingRun(sigmas)
        result = sample_in_parts([run.part(part) for part in parts], noise, sigmas, latent_image)
        seconds = time.perf_counter() - started
        records = [] if trajectory is None else [trajectory]
        for part in parts:
            records.append(
                part.recorder.finish(
                    final=result,
                    token_shape=grid,
                    patch=patch,
                    model=identity,
                    seconds=seconds / len(parts),
                    reach=part.capture.reach() if part.capture else None,
                    end_sigma=float(sigmas[part.steps.stop]),
                    held=held,
                )
            )
        recorded = reduce(Trajectory.followed_by, records)
        return io.NodeOutput(latent_image | {"samples": result}, recorded)


def require_one_architecture(high_noise: ModelIdentity, low_noise: ModelIdentity) -> None:
    """Raises unless both experts are models of one kind, which make one record."""
    if high_noise != low_noise:
        raise ValueError(
            f"The model of guider is {described(high_noise)}, "
            f"that of guider_low_noise {described(low_noise)}. "
            "Two experts have one architecture: connect the high-noise and the low-noise model of one pair."
        )


def described(model: ModelIdentity) -> str:
    return f"{model.family} ({model.layers} layers, {model.heads} heads, {model.channels} channels)"


def require_nothing_held(held: HeldLatent | None) -> None:
    """Raises if a mask would hold the noisy latent of a run that stopped early, as ComfyUI does."""
    if held is not None:
        raise ValueError(
            "latent_image has a mask (a start image or keyframes of image to video), and this run continues "
            "another one, so the mask would hold what is still noise. Run all sigmas in one Low-Res Sampler."
        )


def require_same_capture(earlier: Trajectory, rows: int, with_error: bool) -> None:
    """Raises unless both parts of a run record the same: windows need the attention of every step."""
    reach = earlier.reach
    if (reach is not None) != bool(rows):
        other = "holds none" if reach is None else "holds attention"
        raise ValueError(
            f"capture_rows is {rows}, but the earlier trajectory {other}. Set capture_rows to 0 in both "
            "Low-Res Samplers or in neither."
        )
    if reach is not None and (reach.error is not None) != with_error:
        raise ValueError(
            f"capture_error is {with_error} here and was {not with_error} in the earlier run. Set it alike "
            "in both Low-Res Samplers."
        )
