"""Procedural clips: the training data of the small models, with the truth known at every size.

A scene lives in frame units (the frame is 1 high), so it can be rendered at any
resolution. Textures are waves with phase-locked octaves; an octave appears
only where the pixels can carry it, so a larger rendering really shows more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..vocabulary import COLORS, DIRECTIONS, GROUNDS, Prompt, all_prompts

FRAMES = 17
FRAMES_PER_SECOND = 12
TRAIN_SIZE = 128

# Texture octaves of a ground, in waves per frame height, with their amplitudes.
GROUND_OCTAVES = ((8.0, 0.055), (16.0, 0.045), (32.0, 0.035))
# Texture octaves of an object, in waves per object radius.
OBJECT_OCTAVES = ((1.2, 0.13), (2.4, 0.10), (4.8, 0.08))
# Direction of the wave vector of each ground; stone crosses two waves.
GROUND_ANGLES = {"sand": (90.0,), "stone": (0.0, 90.0), "water": (45.0,), "grass": (0.0,)}
# An octave fades in between these two sizes of one wave, in pixels.
FADE_PIXELS = (4.0, 7.0)


@dataclass(frozen=True)
class Scene:
    """One clip before rendering; lengths in frame heights, positions from the top left."""

    prompt: Prompt
    radius: float
    start: tuple[float, float]
    travel: float
    phase: tuple[float, float, float]

    def center(self, progress: Tensor | float) -> tuple[Tensor | float, Tensor | float]:
        """The object's centre (x, y) at a progress from 0 (first frame) to 1 (last frame)."""
        step_x, step_y = DIRECTIONS[self.prompt.direction]
        return (
            self.start[0] + step_x * self.travel * progress,
            self.start[1] + step_y * self.travel * progress,
        )


def draw_scene(seed: int, prompt: Prompt | None = None) -> Scene:
    """A scene from a seed; the prompt is drawn too unless it is given."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    if prompt is None:
        prompts = all_prompts()
        prompt = prompts[int(torch.randint(len(prompts), (), generator=generator))]
    # Places vary less than an object is wide: then even pure noise and a prompt say roughly where its outline
    # will be, and a small model learns from the words which outline, not only from the noise.
    radius = uniform(0.175, 0.195)
    travel = uniform(0.37, 0.43)
    step_x, step_y = DIRECTIONS[prompt.direction]
    middle_along = 0.5 + uniform(-0.03, 0.03)
    across = uniform(0.44, 0.56)
    start_along = middle_along - travel / 2 * (step_x + step_y)
    start = (start_along, across) if step_x else (across, start_along)
    phase = (uniform(0, 2 * math.pi), uniform(0, 2 * math.pi), uniform(0, 2 * math.pi))
    return Scene(prompt, radius, start, travel, phase)


def octave_weight(pixels_per_wave: float) -> float:
    """How much of an octave a rendering shows: 0 where it would alias, 1 where the pixels carry it."""
    low, high = FADE_PIXELS
    ramp = min(max((pixels_per_wave - low) / (high - low), 0.0), 1.0)
    return ramp * ramp * (3 - 2 * ramp)


def waves(position: Tensor, octaves: tuple[tuple[float, float], ...], phase: float, pixels: float) -> Tensor:
    """Phase-locked octaves along a coordinate; pixels is the length of one unit of it."""
    total = torch.zeros_like(position)
    for frequency, amplitude in octaves:
        weight = amplitude * octave_weight(pixels / frequency)
        if weight:
            # Octaves share a phase, so that the small video fixes the detail of the large one.
            octave = frequency / octaves[0][0]
            total += weight * torch.sin(2 * math.pi * frequency * position + octave * phase)
    return total


def shape_distance(shape: str, x: Tensor, y: Tensor, radius: float) -> Tensor:
    """Signed distance to the outline, negative inside; all shapes have about the same area."""
    if shape == "circle":
        return torch.sqrt(x * x + y * y) - radius
    if shape == "square":
        half = radius * 0.886
        return torch.maximum(x.abs(), y.abs()) - half
    if shape == "triangle":
        # Equilateral, point up: three half planes at the inradius, centred on the bounding box.
        inradius = radius * 0.777
        slope = math.sqrt(3) / 2
        y = y - inradius / 2
        return torch.maximum(y, slope * x.abs() - 0.5 * y) - inradius
    raise ValueError(f"unknown shape {shape!r}")


def render(
    scene: Scene,
    size: int = TRAIN_SIZE,
    frames: int = FRAMES,
    crop: tuple[int, int, int] | None = None,
    first_frame: int = 0,
    clip_frames: int = FRAMES,
) -> Tensor:
    """Renders a scene.

    size: pixels of the whole frame's edge. crop: (left, top, edge) in pixels, the whole frame by default.
    first_frame, clip_frames: which frames of a clip of that many frames to render.
    Returns (frames, height, width, 3) in 0..1.
    """
    left, top, edge = crop or (0, 0, size)
    y = ((torch.arange(edge) + top + 0.5) / size)[:, None]  # (height, 1)
    x = ((torch.arange(edge) + left + 0.5) / size)[None, :]  # (1, width)

    ground = torch.zeros(edge, edge)
    angles = GROUND_ANGLES[scene.prompt.ground]
    for angle, phase in zip(angles, scene.phase, strict=False):
        along = x * math.cos(math.radians(angle)) + y * math.sin(math.radians(angle))
        ground = ground + waves(along, GROUND_OCTAVES, phase, size) / math.sqrt(len(angles))
    backdrop = torch.tensor(GROUNDS[scene.prompt.ground]) + ground[..., None]  # (height, width, 3)

    progress = (torch.arange(frames) + first_frame) / max(clip_frames - 1, 1)
    center_x, center_y = scene.center(progress)
    local_x = x[None] - torch.as_tensor(center_x)[:, None, None]  # (frames, 1, width)
    local_y = y[None] - torch.as_tensor(center_y)[:, None, None]  # (frames, height, 1)
    distance = shape_distance(scene.prompt.shape, local_x, local_y, scene.radius)
    inside = (0.5 - distance * size).clamp(0, 1)[..., None]  # one pixel of antialiasing

    along = (local_x + local_y) / (math.sqrt(2) * scene.radius)
    shading = 1 + waves(along, OBJECT_OCTAVES, scene.phase[2], size * scene.radius)
    surface = torch.tensor(COLORS[scene.prompt.color]) * shading[..., None]
    return torch.lerp(backdrop.expand_as(surface), surface, inside).clamp(0, 1)
