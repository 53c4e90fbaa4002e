"""Enlarges a clean latent in pixels: decode, an optional upscale model, resize, encode."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ....s2flow_core.latent.resample import resize_video
from ....s2flow_core.transition.sizes import TargetSize
from .video_pixels import VideoPixels


def enlarge_in_pixels(
    pixels: VideoPixels, clean: Tensor, size: TargetSize, method: str, upscale_model: Any = None
) -> Tensor:
    """The VAE knows how edges look at the large size; a resized latent does not.

    clean: (1, C, T, h, w) in LATENT space -> (1, C, T, H, W). upscale_model: core's UPSCALE_MODEL, which
    works on single frames; its result is resized to the wanted size.
    """
    frames = pixels.decode(clean)[0]  # (frames, height, width, 3) in 0..1
    wanted = (size.height, size.width)
    if upscale_model is None:
        frames = resize_video(frames, wanted, method)
    else:
        # A whole video at four times the size is gigabytes, so each frame is brought to its own at once.
        upscaled_frames = (upscaled(upscale_model, frame[None]) for frame in frames)
        frames = torch.cat([resize_video(frame, wanted, method) for frame in upscaled_frames])
    large = pixels.encode(frames)
    if large.shape[-3:] != (clean.shape[2], *size.latent_hw):
        raise ValueError(
            f"The VAE encoded {size.width}×{size.height} pixels to {tuple(large.shape[-3:])} instead of "
            f"{(clean.shape[2], *size.latent_hw)} latent cells: it does not belong to this model."
        )
    return large


def upscaled(upscale_model: Any, frame: Tensor) -> Tensor:
    """One frame (1, height, width, 3) through core's own node, which tiles where memory is short."""
    from comfy_extras.nodes_upscale_model import ImageUpscaleWithModel

    comfy.model_management.throw_exception_if_processing_interrupted()
    return ImageUpscaleWithModel.execute(upscale_model, frame).args[0].to(frame.device)
