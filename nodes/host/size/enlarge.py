"""From a small latent to a large one, in pixels with the VAE or in the latent itself."""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import comfy.model_management
import torch
from torch import Tensor

from ....s2flow_core.latent.resample import resize_latent
from ....s2flow_core.transition.sizes import SizedVideo, TargetSize, check_memory, target_size
from .enlarge_in_pixels import enlarge_in_pixels
from .video_pixels import VideoPixels

METHODS = ("bicubic", "bilinear", "nearest")
# Pixels per latent cell where neither a VAE nor this ComfyUI's latent format tells them.
SPATIAL_RATIOS = {"Wan22": 16, "HunyuanVideo15": 16, "LTXV": 32}


def pixels_per_cell(vae: Any, latent_format: str) -> int:
    """Pixels per latent cell, from the VAE or, without one, from the class name of the latent format."""
    if vae is not None:
        return vae.spacial_compression_encode()
    known = SPATIAL_RATIOS.get(latent_format, 8)
    return getattr(getattr(comfy.latent_formats, latent_format, None), "spacial_downscale_ratio", known)


def wanted_size(video: SizedVideo, cell: int, scale: float, width: int, height: int) -> TargetSize:
    """The HR size from scale, or from width and height if both are given; cell: pixels per latent cell."""
    if bool(width) != bool(height):
        given, missing = ("width", "height") if width else ("height", "width")
        raise ValueError(
            f"{given} is {width or height} but {missing} is 0. Set both, or set both to 0 to use scale."
        )
    if width:
        return target_size(video, cell, width=width, height=height)
    return target_size(video, cell, scale=scale)


def require_matching_vae(vae: Any, channels: int, what: str) -> None:
    """Raises unless the VAE is one for videos and its latents have the channels of `what`."""
    if vae.latent_channels != channels:
        raise ValueError(
            f"This VAE's latents have {vae.latent_channels} channels, those of {what} {channels}. Load the "
            "VAE that belongs to the model."
        )
    if vae.latent_dim != 3:
        raise ValueError(
            f"This VAE makes single images, and {what} is of videos. Load the VAE that belongs to the model."
        )


def require_memory(video: SizedVideo, size: TargetSize, vae: Any) -> None:
    """Raises if the large latent and, with a VAE, its pixels cannot fit into this machine's memory."""
    frames = 0 if vae is None else pixel_frames(vae, video)
    check_memory(video, size, comfy.model_management.get_total_memory(torch.device("cpu")), frames)


def pixel_frames(vae: Any, video: SizedVideo) -> int:
    """Frames that the VAE decodes the video's latent frames to."""
    latent_frames = video.latent_shape[2]
    ratio = vae.upscale_ratio
    return ratio[0](latent_frames) if isinstance(ratio, tuple) else latent_frames


def enlarge(
    clean: Tensor, size: TargetSize, pixels: VideoPixels | None, method: str, upscale_model: Any = None
) -> Tensor:
    """clean: (B, C, T, h, w) in LATENT space -> (B, C, T, H, W); without pixels the latent is resized."""
    if pixels is None:
        return resize_latent(clean, size.latent_hw, method)
    return torch.cat([enlarge_in_pixels(pixels, video[None], size, method, upscale_model) for video in clean])


def video_pixels(vae: Any) -> VideoPixels | None:
    """A VAE at work for one node; None without a VAE."""
    return None if vae is None else VideoPixels(vae)
