"""What a clip shows, read off its pixels by ordinary image processing: no model judges a model.

The object is what stands out from the ground in colour; its outline, fill and
track say the rest.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ..vocabulary import COLORS, DIRECTIONS, GROUNDS, SHAPES, Prompt
from .scenes import shape_distance

# Textures change lightness, objects change hue, so a step in lightness counts less than one in hue.
LIGHTNESS_WEIGHT = 0.4
# Least colour difference from the ground that makes a pixel part of an object.
OBJECT_DIFFERENCE = 0.16
# Least area of a region, as a share of the frame: smaller specks are not objects.
LEAST_AREA = 0.008
# Least travel over the clip, in frame heights, that counts as moving, and how much it must exceed the
# travel across it.
LEAST_TRAVEL = 0.12
TRAVEL_RATIO = 2.0

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Region:
    """One connected region of a frame; lengths in frame heights."""

    area: float
    center: tuple[float, float]  # (x, y), the centre of mass
    middle: tuple[float, float]  # that of the bounding box
    color: str
    shape: str


@dataclass(frozen=True)
class Observation:
    """What a clip shows; None where it cannot be told."""

    objects: tuple[int, ...]  # regions in each frame
    color: str | None
    shape: str | None
    direction: str | None
    ground: str
    frames: tuple[int, ...]  # those with an object
    track: tuple[tuple[float, float], ...]  # centre of the largest region in each of them
    areas: tuple[float, ...]
    middles: tuple[tuple[float, float], ...] = ()  # centre of its bounding box

    @property
    def single(self) -> bool:
        """Exactly one object in every frame."""
        return all(count == 1 for count in self.objects)

    def fidelity(self, prompt: Prompt) -> dict[str, bool]:
        """Which words of the prompt the clip shows."""
        return {
            "color": self.color == prompt.color,
            "shape": self.shape == prompt.shape,
            "direction": self.direction == prompt.direction,
            "ground": self.ground == prompt.ground,
        }


def weighted(colors: Image) -> Image:
    """(..., 3) sRGB -> (..., 4): hue as the difference from gray, and lightness at its lower weight."""
    gray = colors.mean(axis=-1, keepdims=True)
    return np.concatenate([colors - gray, LIGHTNESS_WEIGHT * math.sqrt(3) * gray], axis=-1)


def nearest(color: Image, palette: dict[str, tuple[float, float, float]]) -> str:
    """The name in the palette that is closest to a colour (3,)."""
    names = list(palette)
    known = weighted(np.asarray(list(palette.values()), dtype=np.float32))
    return names[int(np.linalg.norm(known - weighted(color), axis=-1).argmin())]


def ground_color(frame: Image) -> Image:
    """The median colour of a frame's rim, where the object is the exception -> (3,)."""
    rim = max(min(frame.shape[:2]) // 10, 1)
    inner = np.zeros(frame.shape[:2], dtype=bool)
    inner[rim:-rim, rim:-rim] = True
    return np.median(frame[~inner], axis=0).astype(np.float32)


def object_mask(frame: Image, ground: Image) -> Mask:
    """(H, W): the pixels that stand out from the ground, without specks and pinholes."""
    difference = np.linalg.norm(weighted(frame) - weighted(ground), axis=-1)
    mask = difference > OBJECT_DIFFERENCE
    radius = max(min(frame.shape[:2]) // 64, 1)
    disc = np.hypot(*np.ogrid[-radius : radius + 1, -radius : radius + 1]) <= radius
    return np.asarray(ndimage.binary_fill_holes(ndimage.binary_opening(mask, disc)), dtype=bool)


def overlap_with(shape: str, mask: Mask, center: tuple[float, float], area: float) -> float:
    """Intersection over union of a region with the ideal shape of its area at its bounding box's centre."""
    ideal = ideal_mask(shape, mask.shape, center, area)
    return float((ideal & mask).sum() / max((ideal | mask).sum(), 1))


def ideal_mask(shape: str, pixels: tuple[int, ...], center: tuple[float, float], area: float) -> Mask:
    """The pixels (height, width) of a shape of an area; center: its bounding box's; in frame heights."""
    # The shapes' areas grow with the square of the radius, so one reference area gives the radius.
    radius = math.sqrt(area / UNIT_AREAS[shape])
    height, width = pixels
    x = (torch.arange(width) + 0.5) / height - center[0]
    y = (torch.arange(height) + 0.5) / height - center[1]
    return (shape_distance(shape, x[None, :], y[:, None], radius) < 0).numpy()


def _unit_area(shape: str) -> float:
    axis = torch.linspace(-2, 2, 801)
    inside = shape_distance(shape, axis[None, :], axis[:, None], 1.0) < 0
    return float(inside.float().mean()) * 16.0


UNIT_AREAS = {shape: _unit_area(shape) for shape in SHAPES}


def regions_of(frame: Image) -> list[Region]:
    """The objects of one frame (H, W, 3), largest first."""
    mask = object_mask(frame, ground_color(frame))
    labels = np.zeros(mask.shape, dtype=np.int32)
    count = int(ndimage.label(mask, output=labels))  # type: ignore[arg-type]
    height = frame.shape[0]
    regions = []
    for label in range(1, count + 1):
        region = labels == label
        if region.mean() < LEAST_AREA:
            continue
        area = float(region.sum()) / height**2
        rows, columns = np.nonzero(region)
        center = (float(columns.mean() + 0.5) / height, float(rows.mean() + 0.5) / height)
        middle = (
            float(columns.min() + columns.max() + 1) / 2 / height,
            float(rows.min() + rows.max() + 1) / 2 / height,
        )
        inset = max(min(frame.shape[:2]) // 64, 1)
        core = np.asarray(ndimage.binary_erosion(region, iterations=inset), dtype=bool)
        color = nearest(frame[core if core.any() else region].mean(axis=0), COLORS)
        overlaps = {shape: overlap_with(shape, region, middle, area) for shape in SHAPES}
        shape = max(overlaps, key=lambda name: overlaps[name])
        regions.append(Region(area, center, middle, color, shape))
    return sorted(regions, key=lambda region: -region.area)


def direction_of(track: list[tuple[float, float]]) -> str | None:
    """The main direction of a track of centres, None if it hardly moves or moves askew."""
    if len(track) < 2:
        return None
    third = max(len(track) // 3, 1)
    start, end = np.mean(track[:third], axis=0), np.mean(track[-third:], axis=0)
    travel = (end - start) * len(track) / max(len(track) - third, 1)
    along = {name: float(np.dot(travel, step)) for name, step in DIRECTIONS.items()}
    best = max(along, key=lambda name: along[name])
    across = math.sqrt(max(float(np.dot(travel, travel)) - along[best] ** 2, 0.0))
    if along[best] < LEAST_TRAVEL or along[best] < TRAVEL_RATIO * across:
        return None
    return best


def observe(clip: Tensor) -> Observation:
    """Reads a clip (frames, H, W, 3) in 0..1."""
    frames = clip.detach().to(torch.float32).cpu().numpy()
    found = [regions_of(frame) for frame in frames]
    main = [regions[0] for regions in found if regions]
    colors = Counter(region.color for region in main)
    shapes = Counter(region.shape for region in main)
    track = [region.center for region in main]
    return Observation(
        objects=tuple(len(regions) for regions in found),
        color=colors.most_common(1)[0][0] if colors else None,
        shape=shapes.most_common(1)[0][0] if shapes else None,
        direction=direction_of(track),
        ground=nearest(ground_color(frames[len(frames) // 2]), GROUNDS),
        frames=tuple(number for number, regions in enumerate(found) if regions),
        track=tuple(track),
        middles=tuple(region.middle for region in main),
        areas=tuple(region.area for region in main),
    )
