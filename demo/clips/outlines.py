"""How ragged an object's outline is."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage
from torch import Tensor

from .observe import OBJECT_DIFFERENCE, Image, Mask, ground_color, ideal_mask, regions_of, weighted


def outline_length(mask: Mask) -> float:
    """Length in pixels of a region's outline (H, W), by Crofton's formula.

    It counts how often rows, columns and both diagonals cross the outline, so that corners of pixels do not
    count as length.
    """
    inside = np.pad(mask, 1)
    straight = (inside[1:] != inside[:-1]).sum() + (inside[:, 1:] != inside[:, :-1]).sum()
    diagonal = (inside[1:, 1:] != inside[:-1, :-1]).sum() + (inside[1:, :-1] != inside[:-1, 1:]).sum()
    return float(math.pi / 8 * (straight + diagonal / math.sqrt(2)))


def sharp_mask(frame: Image) -> Mask:
    """(H, W): the largest thing that stands out, with every notch and spike of its outline."""
    difference = np.linalg.norm(weighted(frame) - weighted(ground_color(frame)), axis=-1)
    filled = ndimage.binary_fill_holes(difference > OBJECT_DIFFERENCE)
    labels = np.zeros(difference.shape, dtype=np.int32)
    if not int(ndimage.label(filled, output=labels)):  # type: ignore[arg-type]
        return np.zeros(difference.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()


def raggedness(clip: Tensor) -> float | None:
    """Length² over area of the object's outline, against that of its ideal shape: 1 is as smooth as drawn.

    clip: (frames, H, W, 3) in 0..1. The median over frames; None where no frame shows an object.
    """
    ratios = [ratio for frame in clip.detach().float().cpu().numpy() if (ratio := frame_raggedness(frame))]
    return float(np.median(ratios)) if ratios else None


def frame_raggedness(frame: Image) -> float | None:
    regions = regions_of(frame)
    if not regions:
        return None
    mask = sharp_mask(frame)
    area = float(mask.sum()) / frame.shape[0] ** 2
    ideal = ideal_mask(regions[0].shape, mask.shape, regions[0].middle, area)
    return compactness(mask) / compactness(ideal)


def compactness(mask: Mask) -> float:
    return outline_length(mask) ** 2 / max(float(mask.sum()), 1.0)
