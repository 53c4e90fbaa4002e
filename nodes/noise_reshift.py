"""S²Flow Noise Reshift: from the model's own size to a smaller one in the middle of a run."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..s2flow_core.latent.flow import SNR_MODES, check_sigmas
from ..s2flow_core.latent.held_latent import HeldLatent, resized_start
from ..s2flow_core.transition.reshift import (
    NOISE_MODES,
    check_clean,
    check_step_of_noise,
    noise_in_state,
    remaining_sigmas,
    reshifted_noise,
    shrink_estimate,
)
from ..s2flow_core.transition.sizes import shrunk_size
from .host.counted import counted
from .host.found_by import found_by
from .host.inputs import CATEGORY, advanced, exact_size_inputs, seed_input
from .host.model.checks import patch_of, require_flow_model, require_video_latent
from .host.sampling.latents import held_latent, mask_beside
from .host.sampling.ready_noise import ReadyNoise, described
from .host.sampling.streams import VideoLatent, model_space_beside, require_streams
from .host.size.enlarge import pixels_per_cell

log = logging.getLogger(__name__)

METHODS = ("area", "bilinear", "bicubic")


class S2FlowNoiseReshift(io.ComfyNode):
    """A quick preview: after k steps the run goes on at a smaller size and keeps its layout."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowNoiseReshift",
            **found_by("preview", "fast preview", "downscale", "bowtie", "smaller"),
            display_name="S²Flow Noise Reshift",
            category=CATEGORY,
            description=(
                "Goes on at a smaller size after the first k steps, for a preview in a fraction of the time "
                "that keeps the layout of the large run: what is where. Any sampler takes over from here."
            ),
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The model of the sampler that follows; its patches decide which sizes fit.",
                ),
                io.Latent.Input(
                    "latent", tooltip="denoised_output of the sampler that ran the first k steps."
                ),
                io.Sigmas.Input("sigmas", tooltip="The whole schedule, not split."),
                io.Int.Input(
                    "k",
                    display_name="k (steps done)",
                    default=10,
                    min=1,
                    max=1000,
                    display_mode=io.NumberDisplay.number,
                    tooltip=(
                        "How many steps ran at the large size: the step of Split Sigmas. The paper: 10 of 40."
                    ),
                ),
                io.Float.Input(
                    "scale",
                    default=0.5,
                    min=0.05,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "Size of each side after the change, rounded to what the model's patches divide. "
                        "Used while width and height are 0."
                    ),
                ),
                io.Combo.Input(
                    "noise_mode",
                    options=list(NOISE_MODES),
                    default="consistent",
                    tooltip=(
                        "consistent: the coarse part of the noise that the run still held (connect "
                        "noisy_latent). fresh: unrelated noise (the paper)."
                    ),
                ),
                io.Combo.Input(
                    "sigma_mode",
                    options=list(SNR_MODES),
                    default="snr_matched",
                    tooltip=(
                        "snr_matched: lower sigmas than are left, so that noise hides no more of the small "
                        "picture than it hid of the large one; this is the schedule whose shift suits the "
                        "smaller size. literal: the sigmas that are left (the paper)."
                    ),
                ),
                # ComfyUI caches by what stands in the widgets, also where consistent noise ignores it.
                seed_input("Seed of fresh noise; consistent noise draws none.", control=False),
                io.Latent.Input(
                    "noisy_latent",
                    optional=True,
                    tooltip=(
                        "output of the same sampler; needed for consistent noise. It also shows whether k is "
                        "right."
                    ),
                ),
                *exact_size_inputs(),
                advanced(
                    io.Combo.Input(
                        "method",
                        options=list(METHODS),
                        default="area",
                        tooltip="How the latent is shrunk; all are antialiased.",
                    )
                ),
                io.Latent.Input(
                    "latent_image",
                    optional=True,
                    tooltip=(
                        "latent_image of the same sampler; only needed where its mask holds partly (a start "
                        "image of a strength below 1, a soft inpainting mask)."
                    ),
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The clean estimate at the small size."),
                io.Sigmas.Output(display_name="sigmas", tooltip="The steps that are left."),
                io.Noise.Output(
                    display_name="noise", tooltip="Noise of the small size, for the sampler that follows."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        latent,
        sigmas: Tensor,
        k: int,
        scale: float,
        noise_mode: str,
        sigma_mode: str,
        seed: int,
        noisy_latent=None,
        width: int = 0,
        height: int = 0,
        method: str = "area",
        latent_image=None,
    ) -> io.NodeOutput:
        check_sigmas(sigmas, "sigmas of Noise Reshift", to_zero=False)
        require_flow_model(model)
        given = VideoLatent.of(latent["samples"])
        denoised = given.video
        require_video_latent(model, denoised, "latent")
        require_streams(model, given, "latent")
        if bool(width) != bool(height):
            raise ValueError("Set both width and height, or set both to 0 to use scale.")
        patch = patch_of(model)
        large = (denoised.shape[-2], denoised.shape[-1])
        pixels = pixels_per_cell(None, type(model.model.latent_format).__name__)
        small = shrunk_size(
            large, (patch[1], patch[2]), pixels, scale=scale, wanted=(height, width) if width else None
        )
        factor = math.sqrt(large[0] / small[0] * large[1] / small[1])
        rest = remaining_sigmas(sigmas, k, sigma_mode, factor)
        if noise_mode == "consistent" and noisy_latent is None:
            raise ValueError(
                "noise_mode is 'consistent', which continues the noise of the first sampler. Connect that "
                "sampler's output to noisy_latent (and its denoised_output to latent), or choose 'fresh'."
            )
        of_run = None
        if noisy_latent is not None:
            of_run = noise_of_run(model, given, VideoLatent.of(noisy_latent["samples"]), sigmas, k)
        kept = held_before(latent, denoised, latent_image)
        shrunk, lacking = resized_start(
            denoised,
            kept,
            small,
            lambda video: shrink_estimate(video, small, method),
            float(rest[0]),
            model.model.latent_format.process_in,
        )
        clean = VideoLatent(shrunk, given.beside)
        if of_run is None or noise_mode == "fresh":
            of_run = VideoLatent(
                reshifted_noise(None, tuple(clean.video.shape), seed), given.noise_beside(seed)
            )
        else:
            of_run = VideoLatent(reshifted_noise(of_run.video, tuple(clean.video.shape), seed), of_run.beside)
        if lacking is not None:
            of_run = VideoLatent(of_run.video + lacking.to(of_run.video), of_run.beside)
        result = {"samples": clean.samples()}
        if kept is not None:
            result["noise_mask"] = VideoLatent(kept.mask_at(small), mask_beside(latent)).samples()
        belongs = noise_mode == "consistent" or lacking is not None
        noise = ReadyNoise(of_run.samples(), seed, of_video=belongs)
        return io.NodeOutput(result, rest, counted(noise))


def held_before(latent: dict[str, Any], denoised: Tensor, given: dict[str, Any] | None) -> HeldLatent | None:
    """What the mask of the first sampler holds, and to what; None without a mask.

    latent: its denoised output with the mask; denoised: the video of it, (B, C, T, H, W); given: what it
    began with. Where the mask holds partly, the denoised output is a mixture of both.
    """
    held = held_latent(latent, denoised)
    if held is None or not held.partly.any():
        return held
    if given is None:
        log.warning(
            "S²Flow Noise Reshift: the mask holds partly, and what it holds is not known here, so the small "
            "run holds it more strongly than the large one did. Connect the first sampler's latent_image to "
            "latent_image."
        )
        return held
    start = VideoLatent.of(given["samples"]).video
    if start.shape != denoised.shape:
        raise ValueError(
            f"latent_image has the shape {tuple(start.shape)} and latent {tuple(denoised.shape)}. Connect "
            "what the sampler of the first k steps was given as latent_image."
        )
    return replace(held, latent=start.float().cpu())


def noise_of_run(model, denoised: VideoLatent, state: VideoLatent, sigmas: Tensor, k: int) -> VideoLatent:
    """The noise in model space that the first sampler stopped with; raises if not at step k.

    denoised, state: its two outputs, in LATENT space. What runs beside the video goes on from its own noise.
    """
    if state.shapes != denoised.shapes:
        raise ValueError(
            f"noisy_latent has the shape {described(state.shapes)} and latent {described(denoised.shapes)}. "
            "Connect output and denoised_output of the same sampler."
        )
    sigma = float(sigmas[k])
    noisy, clean = (model.model.process_latent_in(latent.video.float()) for latent in (state, denoised))
    noise = noise_in_state(noisy, clean, sigma)
    check_clean(clean, noise)
    check_step_of_noise(noise, sigmas, k)
    streams = zip(model_space_beside(model, state), model_space_beside(model, denoised), strict=True)
    return VideoLatent(noise, tuple(noise_in_state(*pair, sigma) for pair in streams))
