"""The samples of a LATENT, and what its mask holds."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

from ....s2flow_core.latent.finite import all_finite
from ....s2flow_core.latent.held_latent import HeldLatent
from ....s2flow_core.trajectory.trajectory import Trajectory
from ..model.checks import require_video_axes
from .streams import VideoLatent

log = logging.getLogger(__name__)

# What later versions write into an empty latent: pixels and frames per cell of the VAE that it is meant for.
MASK_FUNCTION = "denoise_mask_function"  # where Differential Diffusion is found in the model options
RATIOS = ("downscale_ratio_spacial", "downscale_ratio_temporal")


def latent_samples(guider: Any, latent: dict[str, Any]) -> Any:
    """The samples of a LATENT, as `VideoLatent.of` takes them; an empty one takes what the model wants.

    Raises ValueError for what has fewer axes than a picture, which core would stumble over.
    """
    video = VideoLatent.of(latent["samples"]).video
    if video.ndim < 4:
        require_video_axes(video, "latent_image")
    ratios = {name: latent[name] for name in RATIOS if latent.get(name) is not None}
    return comfy.sample.fix_empty_latent_channels(guider.model_patcher, latent["samples"], **ratios)


def finished(latent: dict[str, Any], samples: Any) -> dict[str, Any]:
    """The LATENT that a sampler gives back: it is no empty one any more."""
    return {name: value for name, value in latent.items() if name not in RATIOS} | {"samples": samples}


def require_finite_mask(latent: dict[str, Any]) -> None:
    """Raises if a LATENT's noise_mask holds NaN or infinity, which every step would carry into the video."""
    if (given := latent.get("noise_mask")) is None:
        return
    masks = VideoLatent.of(given)
    if not all(all_finite(mask) for mask in (masks.video, *masks.beside)):
        raise ValueError(
            "The latent's mask holds NaN or infinity: look at the node that made it. A mask is 1 where the "
            "video is made and 0 where it is held."
        )


def held_latent(latent: dict[str, Any], samples: Tensor) -> HeldLatent | None:
    """What a LATENT's noise_mask keeps of its video (B, C, T, H, W); None if it has no mask."""
    given = latent.get("noise_mask")
    if given is None:
        return None
    require_finite_mask(latent)
    given = VideoLatent.of(given).video
    mask = comfy.utils.reshape_mask(given.float(), samples.shape)  # (B, C, T, H, W), as core reads it
    if (mask == mask[:, :1]).all():
        mask = mask[:, :1]
    return HeldLatent(samples.detach().to("cpu", torch.float32, copy=True), mask.cpu().contiguous())


def held_in_run(guider: Any, latent: dict[str, Any], samples: Tensor) -> HeldLatent | None:
    """`held_latent` as a guider's run reads the mask: under core's Differential Diffusion step by step."""
    held = held_latent(latent, samples)
    if held is None or MASK_FUNCTION not in guider.model_options:
        return held
    return replace(held, released_at=float(guider.model_patcher.get_model_object("model_sampling").sigma_min))


def mask_beside(latent: dict[str, Any]) -> tuple[Tensor, ...]:
    """A LATENT's noise_mask for the streams beside its video, in their shape; 1 where it says nothing."""
    streams = VideoLatent.of(latent["samples"]).beside
    given = VideoLatent.of(latent["noise_mask"]).beside
    return tuple(
        comfy.utils.reshape_mask(given[number].float(), stream.shape)
        if number < len(given)
        else torch.ones_like(stream)
        for number, stream in enumerate(streams)
    )


def warn_of_dropped_mask(trajectory: Trajectory, latent: dict[str, Any]) -> None:
    """Logs if the small run held a start image or keyframes, and nothing holds them at the large size."""
    if trajectory.held is not None and latent.get("noise_mask") is None:
        log.warning(
            "The small run held a start image or keyframes, but latent_image has no mask, so nothing is held "
            "at the large size. S²Flow Upsample gives the mask with its latent."
        )
