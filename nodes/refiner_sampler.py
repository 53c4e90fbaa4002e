"""S²Flow Refiner Sampler: a light model takes a small video to any size in about ten steps."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..s2flow_core.attention.temporal_windows import TemporalWindow
from ..s2flow_core.transition.flow_map import MODES, REFERENCE_STEP, refiner_sigmas
from ..s2flow_core.transition.sizes import LatentVideo
from .host.attention.for_gpus import hook_for_gpus
from .host.attention.hook import SelfAttentionHook
from .host.attention.temporal_windows import ShiftedWindows
from .host.found_by import found_by
from .host.inputs import (
    CATEGORY,
    advanced,
    enlargement_input,
    enlarging_vae_input,
    exact_size_inputs,
    gpus_input,
    resume_input,
    seed_input,
    trim_latent_input,
)
from .host.model.checks import (
    diffusion_model,
    patch_of,
    require_family,
    require_flow_model,
    require_video_latent,
    video_channels,
)
from .host.model.devices import gpus_to_use
from .host.model.extra_frames import extra_frames, known_or_trimmed
from .host.resume.kept_run import Given, KeptRun
from .host.sampling.guided import Part, sample_in_parts
from .host.sampling.high_res import FlowRun, FlowSettings
from .host.sampling.latents import held_latent
from .host.sampling.ready_noise import ReadyNoise
from .host.sampling.refiner_start import RefinerStart
from .host.sampling.streams import VideoLatent, require_streams
from .host.size.conditioning_size import check_conditioning_size
from .host.size.enlarge import (
    METHODS,
    enlarge,
    pixels_per_cell,
    require_matching_vae,
    require_memory,
    video_pixels,
    wanted_size,
)

log = logging.getLogger(__name__)


class S2FlowRefinerSampler(io.ComfyNode):
    """A finished small video at any larger size, in about ten steps of a light model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowRefinerSampler",
            **found_by("upscale", "refiner", "super resolution", "4k", "flashvideo", "bowtie", "few steps"),
            display_name="S²Flow Refiner Sampler",
            category=CATEGORY,
            description=(
                "Enlarges a finished small video with a light model in about ten steps. With a Refiner that "
                "was trained for it, the model moves straight from the small video to the large one; any "
                "other video model can be used in the mode renoise."
            ),
            inputs=[
                io.Guider.Input(
                    "guider",
                    tooltip=(
                        "Of the light model. Published CFG: 6 for flow_map (Bowtie-flow), 13 (10 to 13) for "
                        "flashvideo. The demo's Refiner wants 1."
                    ),
                ),
                io.Latent.Input("latent", tooltip="The finished small video; its layout and motion stay."),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="flow_map",
                    tooltip=(
                        "flow_map: straight from the small video to the large one, for models trained to "
                        "it. flashvideo: the same from a small video whose detail is hidden by noise, so "
                        "that more is drawn anew. renoise: for untrained models such as Wan 1.3B."
                    ),
                ),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=200,
                    tooltip=(
                        "More steps, finer detail, more time. 0: 10 for flow_map and renoise, 5 for "
                        "flashvideo, as published."
                    ),
                ),
                io.Float.Input(
                    "shift",
                    default=0.0,
                    min=0.0,
                    max=20.0,
                    step=0.1,
                    tooltip=(
                        "Higher spends more of the steps on layout, lower on detail. 0: 1 for flow_map, 2.5 "
                        "for flashvideo (as published), 3 for renoise."
                    ),
                ),
                enlargement_input(),
                seed_input("Seed of the noise in flashvideo and renoise; flow_map draws none."),
                io.Int.Input(
                    "window",
                    display_name="window (latent frames)",
                    default=0,
                    min=0,
                    max=256,
                    tooltip=(
                        "Attention sees this many latent frames at a time, cut elsewhere in every other "
                        "layer. Faster for long videos; 0 is everything at once."
                    ),
                ),
                io.Float.Input(
                    "strength",
                    default=0.4,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="renoise only: the sigma to start from. More draws more anew.",
                ),
                enlarging_vae_input(),
                io.Sigmas.Input(
                    "sigmas", optional=True, tooltip="A schedule of your own, instead of steps and shift."
                ),
                advanced(
                    io.Int.Input(
                        "reference_step",
                        default=REFERENCE_STEP,
                        min=0,
                        max=999,
                        tooltip="flashvideo only: how much of the small video is hidden; published: 650-750.",
                    )
                ),
                *exact_size_inputs(),
                advanced(
                    io.Combo.Input(
                        "method",
                        options=list(METHODS),
                        default="bicubic",
                        tooltip="How the small video is enlarged before the steps. No difference in time.",
                    )
                ),
                resume_input(),
                trim_latent_input(),
                gpus_input(),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The large video, to be decoded by its VAE.")
            ],
        )

    @classmethod
    def execute(
        cls,
        guider,
        latent,
        mode: str,
        steps: int = 0,
        shift: float = 0.0,
        scale: float = 2.0,
        seed: int = 0,
        window: int = 0,
        strength: float = 0.4,
        vae=None,
        sigmas: Tensor | None = None,
        reference_step: int = REFERENCE_STEP,
        width: int = 0,
        height: int = 0,
        method: str = "bicubic",
        resume_every: int = 0,
        trim_latent: int | None = None,
        gpus: int = 1,
    ) -> io.NodeOutput:
        patcher = guider.model_patcher
        require_flow_model(patcher)
        given = VideoLatent.of(latent["samples"])
        samples = given.video
        require_refiner_for(patcher, samples)
        require_streams(patcher, given, "latent")
        start = RefinerStart(mode, reference_step, seed)
        sigmas = refiner_sigmas(mode, steps, shift, strength) if sigmas is None else sigmas
        start.check(sigmas)
        gpus = gpus_to_use(gpus)
        hook = hook_for_refiner(patcher, window, gpus)

        if vae is not None:
            require_matching_vae(vae, samples.shape[1], "the small video")
        video = LatentVideo(tuple(samples.shape), patch_of(patcher))
        cell = pixels_per_cell(vae, type(patcher.model.latent_format).__name__)
        size = wanted_size(video, cell, scale, width, height)
        check_conditioning_size(guider, size.latent_hw, "the Refiner Sampler")
        require_memory(video, size, vae)
        at_large = samples[..., :1, :1].expand(*samples.shape[:3], *size.latent_hw)
        extra = known_or_trimmed(extra_frames(guider, at_large), trim_latent, samples.shape[2])
        held = held_latent(latent, samples)

        pixels = video_pixels(vae)
        # (B, C, T, H, W) in LATENT space
        large = extra.of_each(samples.float(), lambda clip: enlarge(clip, size, pixels, method))
        clean, noise = start.parts(large, patcher.model.process_latent_in)
        whole = VideoLatent(clean, given.beside)
        begun = {"samples": whole.samples()}
        of_video = None if held is None else held.mask_at(size.latent_hw)
        if (mask := whole.mask(of_video, of_beside=0)) is not None:
            begun["noise_mask"] = mask
        run = FlowRun(FlowSettings(order=1, source="none"), None, sigmas)
        drawn = VideoLatent(noise, given.noise_beside(seed)).samples()
        source = ReadyNoise(drawn, seed, of_video=mode != "renoise")
        kept = KeptRun.of_node(
            cls.hidden, resume_every, Given((guider,), source, begun, (sigmas, mode, window))
        )
        kept.resume(run)
        result = sample_in_parts([Part(guider, slice(0, run.steps), run, hook)], source, sigmas, begun)
        kept.finished()
        if window and hook is not None and hook.visited.possible:
            log.info("S²Flow Refiner: attention density %.3f achieved", hook.visited.density)
        return io.NodeOutput({"samples": result})


def hook_for_refiner(patcher: Any, window: int, gpus: int) -> SelfAttentionHook | None:
    """What the attention runs through; raises for a window of one frame, before the VAE starts."""
    if not window:
        return hook_for_gpus(patcher, gpus)
    TemporalWindow(window)
    family = require_family(patcher, "set window to 0")
    hook = ShiftedWindows(family, diffusion_model(patcher), window)
    hook.sharing.gpus = gpus
    return hook


def require_refiner_for(patcher: Any, samples: Tensor) -> None:
    """Raises unless the small video is a latent of the kind that the light model knows."""
    channels = video_channels(patcher)
    if samples.ndim == 5 and samples.shape[1] != channels:
        raise ValueError(
            f"The small video's latent has {samples.shape[1]} channels, but this Refiner works on "
            f"{channels}: they belong to different VAEs. Use a Refiner for the same VAE, or decode the video "
            "and encode it with the Refiner's VAE."
        )
    require_video_latent(patcher, samples, "latent")
