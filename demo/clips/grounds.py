"""What a clip's ground looks like: how many waves lead in it, and whether blotches lie over them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from .observe import Image, Mask, ground_color, object_mask

# Waves per frame height among which the leading one is looked for: no blotches, no fine detail.
WAVES = (3.5, 28.0)
# The spectrum is sampled this much finer than the frame's own frequencies.
PADDING = 4
# Standard deviation, in lengths of the ground's leading wave, of the blur that leaves blotches: that wave
# keeps 2 % of its height, one four times as long 78 %.
BLUR = 0.45
# Share by which waves may differ from those asked for.
TOLERANCE = 0.1
# How far a blurred pixel must see ground, as a share of what it sees.
LEAST_GROUND = 0.5


def ground_mask(frame: Image) -> Mask:
    """(H, W): the ground without its object and without the rim that the object's colour bleeds into."""
    standing_out = object_mask(frame, ground_color(frame))
    grown = ndimage.binary_dilation(standing_out, iterations=max(frame.shape[0] // 32, 1))
    return ~np.asarray(grown, dtype=bool)


def leading_waves(clip: Tensor) -> float:
    """Waves per frame height that carry most energy in the ground; a rendering's are the scene's.

    clip: (frames, H, W, 3) in 0..1. The energy of all frames is added up; waves of any direction count.
    """
    frames = clip.detach().float().cpu().numpy()
    height, width = frames.shape[1:3]
    side = PADDING * max(height, width)
    window = np.outer(np.hanning(height), np.hanning(width))
    power = np.zeros((side, side // 2 + 1))
    for frame in frames:
        ground = ground_mask(frame)
        weight = window * ground
        lightness = frame.mean(axis=-1)
        mean = (lightness * weight).sum() / max(weight.sum(), 1e-9)
        power += np.abs(np.fft.rfft2((lightness - mean) * weight, s=(side, side))) ** 2
    waves = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]) * height
    power[(waves < WAVES[0]) | (waves > WAVES[1])] = 0
    return float(waves.flat[int(power.argmax())])


def blotches(clip: Tensor, waves: float) -> float:
    """Spread of the ground's slow changes in brightness and colour, those below its lowest wave, 0..1.

    clip: (frames, H, W, 3) in 0..1. waves: per frame height, those that lead in the ground. The root mean
    square over pixels, colours and frames.
    """
    squares = [slow_changes(frame, waves) for frame in clip.detach().float().cpu().numpy()]
    together = np.concatenate(squares)
    return math.sqrt(float(together.mean())) if len(together) else 0.0


def slow_changes(frame: Image, waves: float) -> NDArray[np.float64]:
    """Squares of how far the blurred ground of a frame (H, W, 3) is from its mean -> (pixels, 3)."""
    ground = ground_mask(frame).astype(np.float64)
    sigma = BLUR / waves * frame.shape[0]
    # Blurred inside the ground alone, as if the object and what lies outside the frame were not there.
    seen = ndimage.gaussian_filter(ground, sigma, mode="constant")
    blurred = ndimage.gaussian_filter(frame * ground[..., None], (sigma, sigma, 0), mode="constant")
    known = (seen > LEAST_GROUND) & (ground > 0)
    values = blurred[known] / seen[known][:, None]  # (pixels, 3)
    return (values - values.mean(axis=0, keepdims=True)) ** 2 if len(values) else np.zeros((0, 3))


def as_many_waves(waves: float, fewest: float, most: float | None = None) -> bool:
    """Whether waves are those asked for, or between them, within 10 %."""
    return fewest * (1 - TOLERANCE) <= waves <= (fewest if most is None else most) * (1 + TOLERANCE)
