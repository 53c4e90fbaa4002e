"""Resizing of latents and pixels, frame by frame: every method is linear and keeps constants.

Weights that sum to 1 commute with a per-channel affine map, so a latent may be resized before or after
ComfyUI's `process_latent_in` with the same result. The temporal axis is never touched.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .area import area_means
from .finite import all_finite

METHODS = ("bicubic", "bilinear", "area", "nearest")
# Of proportions, beyond which two sizes cannot show one video: enlargements are rounded to patches.
SAME_SHAPE = 0.05


def resize_latent(latent: Tensor, size: tuple[int, int], method: str = "bicubic") -> Tensor:
    """Resize the last two axes of (..., T, H, W) to `size` (H, W); dtype and device are kept.

    Shrinking is antialiased, except with "nearest". "bicubic" is Catmull-Rom (a = -1/2), third-order
    accurate and therefore the choice for LR estimates. "area" takes the mean over each new cell's area: block
    means when shrinking by a whole ratio, repeated cells when growing by one.

    Raises ValueError for another method or a side below 1.
    """
    if method not in METHODS:
        raise ValueError(f"Unknown resize method '{method}'; choose one of {', '.join(METHODS)}.")
    if min(size) < 1:
        raise ValueError(f"Cannot resize to {size[1]}×{size[0]}: both sides must be at least 1.")
    if tuple(latent.shape[-2:]) == tuple(size):
        return latent
    precise = latent if latent.dtype == torch.float64 else latent.float()
    frames = precise.reshape(-1, 1, *latent.shape[-2:])  # (frames, 1, H, W)
    if method == "nearest":
        resized = F.interpolate(frames, size=size, mode="nearest-exact")
    elif method == "area":
        resized = area_means(frames, size)
    else:
        # Antialiasing also switches torch from the a = -3/4 cubic to Catmull-Rom, hence also when growing.
        resized = F.interpolate(frames, size=size, mode=method, align_corners=False, antialias=True)
    return resized.to(latent.dtype).reshape(*latent.shape[:-2], *size)


def resize_video(pixels: Tensor, size: tuple[int, int], method: str = "bicubic") -> Tensor:
    """Resize frames (T, H, W, channels) with values 0..1 to `size` (H, W), clamped back to 0..1."""
    planes = resize_latent(pixels.movedim(-1, 0), size, method)  # (channels, T, H, W)
    return planes.movedim(0, -1).clamp(0, 1).contiguous()


def check_finite(latent: Tensor, name: str) -> None:
    """Raise a ValueError that names the input if the latent, of any shape, holds NaN or infinity.

    name: begins the message, such as "The denoised latent".
    """
    if not all_finite(latent):
        broken = int((~torch.isfinite(latent)).sum())
        raise ValueError(
            f"{name} holds {broken} value(s) that are NaN or infinite, so the video would turn black. "
            "Run the step that made it again; if it repeats, use a higher precision (bf16 or fp32)."
        )
