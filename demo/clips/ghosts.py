"""Ghosts: what the first frame of a latent group shows of where the object is not.

A video VAE writes four frames into one latent frame. If its first layers look
back too far, the first of the four keeps a trace of the frame before it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from .observe import UNIT_AREAS, Observation
from .scenes import Scene, shape_distance

GROUP = 4  # frames of a latent frame; the first latent frame has one
# Degree of the curve through observed places: a path bends once, a ghost comes every 4 frames.
BENDS = 5
# How far around the object a ghost is looked for, in frame heights.
BAND = 0.12
# What no eight-bit picture shows; it also keeps a perfect clip from being divided by nothing.
UNSEEN = (1 / 255) ** 2
# Pixels about the outline that belong to neither side: they are mixed.
RIM = 1.5


@dataclass(frozen=True)
class Motion:
    """Where the object truly is: its shape, radius and centre (x, y) in each frame, in frame heights."""

    shape: str
    radius: float
    centers: Tensor  # (frames, 2)


def motion_of_scene(scene: Scene, frames: int) -> Motion:
    progress = torch.arange(frames) / max(frames - 1, 1)
    x, y = (torch.as_tensor(value).expand(frames) for value in scene.center(progress))
    return Motion(scene.prompt.shape, scene.radius, torch.stack([x, y], dim=1))


def motion_of_observation(seen: Observation, frames: int) -> Motion | None:
    """A smooth path through the observed places, which a ghost hardly shifts; None without an object."""
    if seen.shape is None or len(seen.frames) < 3:
        return None
    places = np.asarray(seen.middles)  # (frames with an object, 2)
    bends = min(BENDS, len(places) - 1)
    paths = [np.polynomial.Polynomial.fit(seen.frames, places[:, axis], bends) for axis in (0, 1)]
    centers = torch.tensor(np.stack([path(np.arange(frames)) for path in paths], axis=1), dtype=torch.float32)
    return Motion(seen.shape, math.sqrt(float(np.median(seen.areas)) / UNIT_AREAS[seen.shape]), centers)


def ghost(clip: Tensor, motion: Motion) -> float:
    """How far first frames of latent groups are from their neighbours, against other frames: 1 is no ghost.

    clip: (frames, H, W, 3) in 0..1, at least 9. Each frame is held against the mean of its two neighbours,
    moved along the true motion inside the object, unmoved on the ground; root mean squares near the object.
    """
    distances = [distance_to_neighbours(clip, motion, frame) for frame in range(1, len(clip) - 1)]
    first = [value for frame, value in enumerate(distances, start=1) if frame % GROUP == 1]
    other = [value for frame, value in enumerate(distances, start=1) if frame % GROUP != 1]
    return math.sqrt((sum(first) / len(first) + UNSEEN) / (sum(other) / len(other) + UNSEEN))


def distance_to_neighbours(clip: Tensor, motion: Motion, frame: int) -> float:
    """Mean square difference of a frame to the mean of its neighbours, near the object."""
    height, width = clip.shape[1:3]
    signed = [outline_distance(motion, at, height, width) for at in (frame - 1, frame, frame + 1)]
    rim = RIM / height
    moved = [moved_to(clip[at], motion.centers[frame] - motion.centers[at]) for at in (frame - 1, frame + 1)]
    difference = clip[frame] - (moved[0] + moved[1]) / 2
    inside = signed[1] < -rim
    squares = [difference[inside].square()]
    # Ground that one neighbour covers is held against the other alone.
    bare = [distance > rim for distance in (signed[0], signed[2])]
    near = (signed[1] > rim) & (torch.stack(signed).amin(dim=0) < BAND) & (bare[0] | bare[1])
    counts = bare[0].float() + bare[1].float()
    shown = clip[frame - 1] * bare[0][..., None] + clip[frame + 1] * bare[1][..., None]
    neighbours = shown / counts.clamp_min(1)[..., None]  # (H, W, 3)
    squares.append((clip[frame] - neighbours)[near].square())
    return float(torch.cat(squares).mean())


def outline_distance(motion: Motion, frame: int, height: int, width: int) -> Tensor:
    """Signed distance of each pixel to the object's outline, in frame heights -> (H, W)."""
    x = (torch.arange(width) + 0.5) / height - motion.centers[frame, 0]
    y = (torch.arange(height) + 0.5) / height - motion.centers[frame, 1]
    return shape_distance(motion.shape, x[None, :], y[:, None], motion.radius)


def moved_to(frame: Tensor, shift: Tensor) -> Tensor:
    """A frame (H, W, 3) moved by (x, y) in frame heights."""
    height, width = frame.shape[:2]
    y = (torch.arange(height) + 0.5) / height - shift[1]
    x = (torch.arange(width) + 0.5) / height - shift[0]
    grid = torch.stack(torch.meshgrid(y * 2 - 1, x * 2 * height / width - 1, indexing="ij")[::-1], dim=-1)
    picture = frame.movedim(-1, 0)[None].float()
    moved = grid_sample(picture, grid[None], mode="bicubic", padding_mode="border", align_corners=False)
    return moved[0].movedim(0, -1)
