"""What makes a sharp clip look like a small, poor one: blur, resize, noise, compression (after Real-ESRGAN).

A Refiner that has only seen clean, shrunk videos learns to sharpen; one that has seen worse learns to draw.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from s2flow_core.latent.resample import resize_video

RESIZE_METHODS = ("area", "bilinear", "bicubic")


@dataclass(frozen=True)
class PixelDegradation:
    """Ranges that a clip's degradation is drawn from; every clip draws each kind on its own.

    blur: deviation in pixels of the large clip. noise: deviation of values in 0..1. quality: of JPEG, 1-100.
    chance: of each of the three; resizing always happens.
    """

    blur: tuple[float, float] = (0.2, 1.5)
    noise: tuple[float, float] = (0.0, 0.04)
    quality: tuple[int, int] = (40, 95)
    chance: float = 0.5


def degrade_pixels(
    frames: Tensor, size: tuple[int, int], settings: PixelDegradation, generator: torch.Generator
) -> Tensor:
    """frames (T, H, W, 3) in 0..1 -> (T, h, w, 3) of `size` (h, w); one draw for the whole clip."""

    def draw(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    def happens() -> bool:
        return draw(0, 1) < settings.chance

    if happens():
        frames = blurred(frames, draw(*settings.blur))
    method = RESIZE_METHODS[int(torch.randint(len(RESIZE_METHODS), (), generator=generator))]
    frames = resize_video(frames, size, method)
    if happens():
        noise = torch.randn(frames.shape, generator=generator)
        frames = (frames + draw(*settings.noise) * noise).clamp(0, 1)
    if happens():
        frames = compressed(frames, round(draw(*settings.quality)))
    return frames


def blurred(frames: Tensor, deviation: float) -> Tensor:
    """Gaussian blur of (T, H, W, 3), frame by frame; edges repeat."""
    radius = max(1, min(round(3 * deviation), min(frames.shape[1:3]) - 1))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    weights = torch.softmax(-(offsets**2) / (2 * deviation**2), dim=0)
    planes = frames.permute(0, 3, 1, 2).flatten(0, 1)[:, None]  # (T*3, 1, H, W)
    planes = F.pad(planes, (radius, radius, radius, radius), mode="replicate")
    planes = F.conv2d(F.conv2d(planes, weights[None, None, None, :]), weights[None, None, :, None])
    return planes.view(frames.shape[0], 3, *frames.shape[1:3]).permute(0, 2, 3, 1)


def compressed(frames: Tensor, quality: int) -> Tensor:
    """(T, H, W, 3) in 0..1 through JPEG of this quality."""
    results = []
    for frame in frames:
        stored = io.BytesIO()
        Image.fromarray((frame * 255).round().to(torch.uint8).numpy()).save(stored, "JPEG", quality=quality)
        results.append(torch.from_numpy(numpy.asarray(Image.open(stored), dtype=numpy.float32) / 255))
    return torch.stack(results)
