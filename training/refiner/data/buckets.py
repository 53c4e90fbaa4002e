"""Sizes to train on: one area, every aspect ratio, sides in whole units."""

from __future__ import annotations

import math

from torch import Tensor

from s2flow_core.latent.resample import resize_video

UNIT = 32  # pixels, as in Bowtie-flow B.3


def bucket_size(width: int, height: int, area: int) -> tuple[int, int]:
    """(height, width) in whole units, near the aspect ratio of a video and no larger than it or than `area`.

    Enlarging a clip to fill a bucket would teach the model blur. Raises ValueError if not even one unit fits.
    """
    if min(width, height) < UNIT:
        raise ValueError(f"{width}×{height} pixels are less than one unit of {UNIT}")
    shrink = min(1.0, math.sqrt(area / (width * height)))
    bucket_height, bucket_width = (
        max(UNIT, math.floor(side * shrink / UNIT + 1e-6) * UNIT) for side in (height, width)
    )
    return bucket_height, bucket_width


def fit_bucket(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """(T, H, W, 3) resized to cover `size` (height, width), the rest cropped evenly."""
    height, width = frames.shape[1:3]
    factor = max(size[0] / height, size[1] / width)
    covering = (max(size[0], round(height * factor)), max(size[1], round(width * factor)))
    frames = resize_video(frames, covering)
    top, left = (covering[0] - size[0]) // 2, (covering[1] - size[1]) // 2
    return frames[:, top : top + size[0], left : left + size[1]]
