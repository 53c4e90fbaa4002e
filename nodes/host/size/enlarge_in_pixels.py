"""Enlarges a clean latent in pixels: decode, an optional upscale model, resize, encode."""

from __future__ import annotations

import logging
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ....s2flow_core.latent.resample import resize_video
from ....s2flow_core.transition.sizes import TargetSize

log = logging.getLogger(__name__)

# Pixels per side of a tile and of the seam that neighbours share, as in core's own fallback.
TILE, OVERLAP = 256, 64


def enlarge_in_pixels(
    vae: Any, clean: Tensor, size: TargetSize, method: str, upscale_model: Any = None
) -> Tensor:
    """The VAE knows how edges look at the large size; a resized latent does not.

    clean: (1, C, T, h, w) in LATENT space -> (1, C, T, H, W). upscale_model: core's UPSCALE_MODEL, which
    works on single frames; its result is resized to the wanted size.
    """
    pixels = decode(vae, clean)  # (1, frames, height, width, 3) in 0..1
    frames = pixels[0]
    if upscale_model is not None:
        frames = torch.cat([upscaled(upscale_model, frame[None]) for frame in frames])
    frames = resize_video(frames, (size.height, size.width), method)
    large = encode(vae, frames)
    if large.shape[-3:] != (clean.shape[2], *size.latent_hw):
        raise ValueError(
            f"The VAE encoded {size.width}×{size.height} pixels to {tuple(large.shape[-3:])} instead of "
            f"{(clean.shape[2], *size.latent_hw)} latent cells: it does not belong to this model."
        )
    return large


def upscaled(upscale_model: Any, frame: Tensor) -> Tensor:
    """One frame (1, height, width, 3) through core's own node, which tiles where memory is short."""
    from comfy_extras.nodes_upscale_model import ImageUpscaleWithModel

    return ImageUpscaleWithModel.execute(upscale_model, frame).args[0].to(frame.device)


@torch.inference_mode()
def decode(vae: Any, latent: Tensor) -> Tensor:
    """(1, C, T, h, w) -> (1, frames, height, width, 3), in tiles if the device cannot hold it whole.

    Core joins tiles in place, which it may only as it runs nodes: outside of autograd.
    """
    if fits(vae, vae.memory_used_decode(latent.shape, vae.vae_dtype), "decoding"):
        return vae.decode(latent)
    ratio = vae.spacial_compression_decode()
    return vae.decode_tiled(latent, tile_x=TILE // ratio, tile_y=TILE // ratio, overlap=OVERLAP // ratio)


def encode(vae: Any, frames: Tensor) -> Tensor:
    """(frames, height, width, 3) -> (1, C, T, h, w), in tiles if the device cannot hold it whole."""
    shape = (1, 3, *frames.shape[:3])
    if fits(vae, vae.memory_used_encode(shape, vae.vae_dtype), "encoding"):
        return vae.encode(frames)
    return vae.encode_tiled(frames, tile_x=TILE, tile_y=TILE, overlap=OVERLAP)


def fits(vae: Any, needed: float, doing: str) -> bool:
    """Whether the device could hold it if everything else were unloaded.

    Between that and running out, core unloads models and tiles by itself; on a CPU nothing does, the system
    ends the process.
    """
    available = comfy.model_management.get_total_memory(vae.device)
    if needed > available:
        log.info(
            "S²Flow: VAE %s in tiles, it needs %.1f of %.1f GiB", doing, needed / 2**30, available / 2**30
        )
    return needed <= available
