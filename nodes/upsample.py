"""S²Flow Upsample: from the small video to the triple (latent, sigmas, noise) at the large size."""

from __future__ import annotations

import logging
from functools import partial

from comfy_api.latest import io

from ..s2flow_core.latent.flow import SNR_MODES
from ..s2flow_core.latent.held_latent import resized_start
from ..s2flow_core.latent.noise import lr_consistent_noise, standardised, white_noise
from ..s2flow_core.trajectory.trajectory import Trajectory
from ..s2flow_core.transition.upsample import (
    DEFAULT_SHARE,
    chosen_steps_left,
    clean_estimate,
    held_in_last_steps,
    step_noise,
    tail_sigmas,
)
from .host.counted import counted
from .host.found_by import found_by
from .host.inputs import (
    CATEGORY,
    TrajectoryType,
    advanced,
    enlargement_input,
    enlarging_vae_input,
    exact_size_inputs,
    seed_input,
    trim_latent_input,
)
from .host.model.extra_frames import known_or_trimmed
from .host.model.latent_space import to_model_space
from .host.sampling.ready_noise import ReadyNoise
from .host.sampling.streams import VideoLatent
from .host.size.enlarge import (
    METHODS,
    enlarge,
    pixels_per_cell,
    require_matching_vae,
    require_memory,
    video_pixels,
    wanted_size,
)

NOISES = ("lr_consistent", "fresh")

log = logging.getLogger(__name__)


class S2FlowUpsample(io.ComfyNode):
    """The t_i slider: latent, sigmas and noise with which any sampler goes on at the large size."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowUpsample",
            **found_by(
                "upscale",
                "latent upscale",
                "4k",
                "2k",
                "hires fix",
                "super resolution",
                "two-pass",
                "second pass",
                essential=True,
            ),
            display_name="S²Flow Upsample",
            category=CATEGORY,
            description=(
                "Takes the low-resolution run at the step where t_i steps are left, enlarges its estimate of "
                "the finished video, and gives everything that a sampler needs to go on from there."
            ),
            inputs=[
                TrajectoryType.Input(
                    "trajectory", tooltip="Of the Low-Res Sampler, with every step of the small video."
                ),
                io.Int.Input(
                    "t_i",
                    display_name="t_i (steps left)",
                    default=0,
                    min=0,
                    max=60,
                    display_mode=io.NumberDisplay.slider,
                    tooltip=(
                        "How many of the recorded steps run again at high resolution. More steps, more new "
                        "detail and more time; fewer, closer to the small video. The paper: 30 of 50. 0: as "
                        "share says, which fits every schedule."
                    ),
                ),
                enlargement_input(),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="bicubic",
                    tooltip=(
                        "How the estimate is enlarged. bicubic is a little sharper, bilinear softer; the "
                        "steps that are left redraw the detail. No difference in time."
                    ),
                ),
                seed_input(
                    "Of the new, fine part of the noise: another seed, other detail, the same layout."
                ),
                enlarging_vae_input(),
                io.UpscaleModel.Input(
                    "upscale_model",
                    optional=True,
                    tooltip=(
                        "Enlarges the decoded frames before they are resized to the target. Sharper edges to "
                        "start from; what it invents is only a start, the steps that are left redraw it. "
                        "Needs a VAE."
                    ),
                ),
                *exact_size_inputs(),
                advanced(
                    io.Combo.Input(
                        "noise_mode",
                        options=list(NOISES),
                        default="lr_consistent",
                        tooltip=(
                            "lr_consistent: white noise whose coarse part is the small run's own noise. "
                            "fresh: unrelated noise."
                        ),
                    )
                ),
                advanced(
                    io.Combo.Input(
                        "sigma_mode",
                        options=list(SNR_MODES),
                        default="literal",
                        tooltip=(
                            "literal: the same sigmas as the small run (the paper). snr_matched: higher "
                            "ones, so that the coarse picture is as noisy as it was there."
                        ),
                    )
                ),
                trim_latent_input(),
                io.Float.Input(
                    "share",
                    display_name="share of the steps",
                    default=DEFAULT_SHARE,
                    min=0.05,
                    max=1.0,
                    step=0.05,
                    display_mode=io.NumberDisplay.slider,
                    optional=True,
                    tooltip=(
                        "While t_i is 0: the share of the recorded steps that runs again. 0.6 is 30 of 50 "
                        "(the paper), 12 of 20 and 2 of 4. More: more new detail and more time."
                    ),
                ),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="latent", tooltip="The clean estimate at the large size, to start from."
                ),
                io.Sigmas.Output(display_name="sigmas", tooltip="The steps that are left."),
                io.Noise.Output(
                    display_name="noise", tooltip="Noise of the large size that agrees with the small run's."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        trajectory: Trajectory,
        t_i: int,
        scale: float,
        method: str,
        seed: int,
        vae=None,
        upscale_model=None,
        width: int = 0,
        height: int = 0,
        noise_mode: str = "lr_consistent",
        sigma_mode: str = "literal",
        trim_latent: int | None = None,
        share: float = DEFAULT_SHARE,
    ) -> io.NodeOutput:
        trajectory.require_finished()
        if t_i and share != DEFAULT_SHARE:
            log.warning(
                "S²Flow Upsample: t_i is %d, so share %g is not used. Set t_i to 0 to use it.", t_i, share
            )
        t_i = chosen_steps_left(trajectory.steps, t_i, share)
        extra = known_or_trimmed(trajectory.extra, trim_latent, trajectory.latent_shape[2])
        if vae is not None:
            require_matching_vae(vae, trajectory.model.channels, "the trajectory")
        elif upscale_model is not None:
            raise ValueError(
                "An upscale model works on pixels, and without a VAE there are none. Connect the model's VAE "
                "to S²Flow Upsample, or remove the upscale model."
            )
        cell = pixels_per_cell(vae, trajectory.model.latent_format)
        size = wanted_size(trajectory, cell, scale, width, height)
        require_memory(trajectory, size, vae)

        sigmas = tail_sigmas(trajectory.sigmas, t_i, sigma_mode, size.scale)
        clean = clean_estimate(trajectory, t_i)  # (B, C, T, h, w)
        if noise_mode == "lr_consistent":
            # The estimate of a real model is only nearly white.
            coarse = extra.of_each(step_noise(trajectory, t_i), standardised)
            noise = lr_consistent_noise(coarse, size.latent_hw, seed)
        else:
            noise = white_noise((*clean.shape[:3], *size.latent_hw), seed)
        pixels = video_pixels(vae)
        held = held_in_last_steps(trajectory, sigmas)
        enlarged, lacking = resized_start(
            clean,
            held,
            size.latent_hw,
            lambda video: extra.of_each(video, lambda x: enlarge(x, size, pixels, method, upscale_model)),
            float(sigmas[0]),
            partial(to_model_space, trajectory.model.latent_format),
        )
        if lacking is not None:
            noise = noise + lacking.to(noise)
        # The sound has no size: it is finished, and held while the picture gets its detail.
        large = VideoLatent(enlarged, trajectory.beside)
        latent = {"samples": large.samples()}
        of_video = None if held is None else held.mask_at(size.latent_hw)
        if (mask := large.mask(of_video, of_beside=0)) is not None:
            latent["noise_mask"] = mask
        drawn = VideoLatent(noise, large.noise_beside(seed)).samples()
        belongs = noise_mode == "lr_consistent" or lacking is not None
        noise = ReadyNoise(drawn, seed, of_video=belongs)
        return io.NodeOutput(latent, sigmas, counted(noise))

    @classmethod
    def validate_inputs(cls, t_i: int | None) -> bool | str:
        """The slider ends at 60, a long schedule or an earlier graph may go beyond; a link brings None."""
        if t_i is not None and t_i < 0:
            return f"t_i is {t_i}; choose 1 or more, or 0 to let share decide."
        return True
