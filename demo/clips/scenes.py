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
from .styles import STYLE, Style
from .textures import along, joint_lines, waves

FRAMES = 17
FRAMES_PER_SECOND = 12
TRAIN_SIZE = 128

# Direction of the wave vector of each ground; stone crosses two waves.
GROUND_ANGLES = {"sand": (90.0,), "stone": (0.0, 90.0), "water": (45.0,), "grass": (0.0,)}
# Height and width, or the edge of a square, in pixels.
Size = int | tuple[int, int]


@dataclass(frozen=True)
class Scene:
    """One clip before rendering; lengths in frame heights, positions from the top left.

    aspect: width over height. travel is signed by the prompt's direction; sway: how far the path bends aside
    half-way. ease: as in `Style`. angle: of the ground's lines, in degrees. ground_scale: how much finer the
    ground is than the style's.
    """

    prompt: Prompt
    radius: float
    start: tuple[float, float]
    travel: float
    phase: tuple[float, float, float]
    style: Style = STYLE
    aspect: float = 1.0
    sway: float = 0.0
    ease: float = 0.0
    angle: float = 0.0
    ground_scale: float = 1.0

    @property
    def leading_waves(self) -> float:
        """Waves per frame height that lead in the ground."""
        return self.style.ground_octaves[0][0] * self.ground_scale

    def center(self, progress: Tensor | float) -> tuple[Tensor | float, Tensor | float]:
        """The object's centre (x, y) at a progress from 0 (first frame) to 1 (last frame)."""
        step_x, step_y = DIRECTIONS[self.prompt.direction]
        way, aside = progress, 0.0
        if self.ease or self.sway:
            share = torch.as_tensor(progress)
            way = share + self.ease * torch.sin(2 * math.pi * share) / (2 * math.pi)
            aside = self.sway * torch.sin(math.pi * share)
        return (
            self.start[0] + step_x * self.travel * way + abs(step_y) * aside,
            self.start[1] + step_y * self.travel * way + abs(step_x) * aside,
        )


def draw_scene(seed: int, prompt: Prompt | None = None, style: Style = STYLE, aspect: float = 1.0) -> Scene:
    """A scene from a seed, with a prompt unless one is given. aspect: the frame's width over height."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    if prompt is None:
        prompts = all_prompts()
        prompt = prompts[int(torch.randint(len(prompts), (), generator=generator))]
    # Places vary less than an object is wide: then even pure noise and a prompt say roughly where its outline
    # will be, and a small model learns from the words which outline, not only from the noise.
    step_x, step_y = DIRECTIONS[prompt.direction]
    edge_along, edge_across = (aspect, 1.0) if step_x else (1.0, aspect)
    radius = uniform(*style.radius) * min(aspect, 1.0)
    travel = uniform(*style.travel) * edge_along
    middle_along = (0.5 + uniform(-style.middle, style.middle)) * edge_along
    across = uniform(*style.across) * edge_across
    start_along = middle_along - travel / 2 * (step_x + step_y)
    start = (start_along, across) if step_x else (across, start_along)
    phase = (uniform(0, 2 * math.pi), uniform(0, 2 * math.pi), uniform(0, 2 * math.pi))
    sway = uniform(-style.sway, style.sway) * radius
    ease = uniform(-style.ease, style.ease)
    angle = uniform(0, 90)
    # The mean of two draws: middle values oftenest.
    low, high = style.ground_scale
    ground_scale = low * (high / low) ** uniform(0, 1 / 2) * (high / low) ** uniform(0, 1 / 2)
    return Scene(prompt, radius, start, travel, phase, style, aspect, sway, ease, angle, ground_scale)


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


def frame_pixels(scene: Scene, size: Size) -> tuple[int, int]:
    """(height, width) of a rendering. Raises ValueError where the scene was drawn for another shape."""
    height, width = (size, size) if isinstance(size, int) else size
    if abs(width - scene.aspect * height) >= 1:
        raise ValueError(
            f"the scene was drawn for a frame {scene.aspect:.3g} times as wide as high, not for "
            f"{width}x{height} pixels: draw it with aspect={width}/{height}"
        )
    return height, width


def ground_of(scene: Scene, x: Tensor, y: Tensor, height: int) -> Tensor:
    """The ground without its object; x: (1, width), y: (height, 1) -> (height, width, 3)."""
    style, name = scene.style, scene.prompt.ground
    # In units of the style's waves.
    x, y, unit = x * scene.ground_scale, y * scene.ground_scale, height / scene.ground_scale
    shade = torch.zeros(y.shape[0], x.shape[1])
    angles = GROUND_ANGLES[name]
    for angle, phase in zip(angles, scene.phase, strict=False):
        shade = shade + waves(along(x, y, angle), style.ground_octaves, phase, unit) / math.sqrt(len(angles))
    if style.cross_octaves:
        # Between the directions of the first scale, or square to the only one.
        across = sum(angles) / len(angles) if len(angles) > 1 else angles[0] + 90
        shade = shade + waves(along(x, y, across), style.cross_octaves, scene.phase[1], unit)
    if name in style.joints:
        shade = shade - joint_lines(x, y, style.joints[name], scene.angle, unit)
    return torch.tensor(GROUNDS[name]) + shade[..., None]


def render(
    scene: Scene,
    size: Size = TRAIN_SIZE,
    frames: int = FRAMES,
    crop: tuple[int, int, int] | None = None,
    first_frame: int = 0,
    clip_frames: int = FRAMES,
) -> Tensor:
    """Renders a scene.

    size: pixels of the whole frame. crop: (left, top, edge) in pixels, the whole frame by default.
    first_frame, clip_frames: which frames of a clip of that many frames to render.
    Returns (frames, height, width, 3) in 0..1.
    """
    height, width = frame_pixels(scene, size)
    left, top, rows, columns = (crop[0], crop[1], crop[2], crop[2]) if crop else (0, 0, height, width)
    y = ((torch.arange(rows) + top + 0.5) / height)[:, None]  # (rows, 1)
    x = ((torch.arange(columns) + left + 0.5) / height)[None, :]  # (1, columns)
    backdrop = ground_of(scene, x, y, height)  # (rows, columns, 3)

    progress = (torch.arange(frames) + first_frame) / max(clip_frames - 1, 1)
    center_x, center_y = scene.center(progress)
    local_x = x[None] - torch.as_tensor(center_x)[..., None, None]  # (frames, 1, columns)
    local_y = y[None] - torch.as_tensor(center_y)[..., None, None]  # (frames, rows, 1)
    distance = shape_distance(scene.prompt.shape, local_x, local_y, scene.radius)
    inside = (0.5 - distance * height).clamp(0, 1)[..., None]  # one pixel of antialiasing

    diagonal = (local_x + local_y) / (math.sqrt(2) * scene.radius)
    shading = 1 + waves(diagonal, scene.style.object_octaves, scene.phase[2], height * scene.radius)
    if scene.style.light:
        shading = shading - scene.style.light * diagonal.clamp(-1, 1)
    surface = torch.tensor(COLORS[scene.prompt.color]) * shading[..., None]
    return torch.lerp(backdrop.expand_as(surface), surface, inside).clamp(0, 1)
