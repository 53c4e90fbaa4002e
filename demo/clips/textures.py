"""Waves and lines that a rendering shows only as far as its pixels can carry them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .styles import Joints, Octaves

# An octave fades in between these two sizes of one wave, in pixels.
FADE_PIXELS = (4.0, 7.0)


def octave_weight(pixels_per_wave: float) -> float:
    """How much of an octave a rendering shows: 0 where it would alias, 1 where the pixels carry it."""
    low, high = FADE_PIXELS
    ramp = min(max((pixels_per_wave - low) / (high - low), 0.0), 1.0)
    return ramp * ramp * (3 - 2 * ramp)


def waves(position: Tensor, octaves: Octaves, phase: float, pixels: float) -> Tensor:
    """Phase-locked octaves along a coordinate; pixels is the length of one unit of it."""
    total = torch.zeros_like(position)
    for frequency, amplitude in octaves:
        weight = amplitude * octave_weight(pixels / frequency)
        if weight:
            # Octaves share a phase, so that the small video fixes the detail of the large one.
            octave = frequency / octaves[0][0]
            total += weight * torch.sin(2 * math.pi * frequency * position + octave * phase)
    return total


def along(x: Tensor, y: Tensor, degrees: float) -> Tensor:
    """The coordinate of a wave whose vector has this angle; x: (..., width), y: (..., height, 1)."""
    return x * math.cos(math.radians(degrees)) + y * math.sin(math.radians(degrees))


def joint_lines(x: Tensor, y: Tensor, joints: Joints, degrees: float, pixels: float) -> Tensor:
    """How much darker lines make each pixel: the covered share of it times their depth -> (height, width).

    x: (1, width), y: (height, 1) in frame heights; pixels: those of a frame height.
    """
    uncovered = torch.ones(y.shape[0], x.shape[1])
    for angle in (degrees, degrees + 90):
        place = along(x, y, angle) / joints.spacing
        to_line = (place - place.round()).abs() * joints.spacing * pixels  # pixels to the nearest line
        half = joints.width * pixels / 2
        # The overlap of a pixel's unit length with the line's.
        covered = (torch.minimum(to_line + 0.5, torch.tensor(half)) - (to_line - 0.5).clamp_min(-half)).clamp(
            0, 1
        )
        uncovered = uncovered * (1 - covered)
    return joints.depth * (1 - uncovered)
