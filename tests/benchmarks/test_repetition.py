"""The repetition measure, on pictures whose answer is known."""

from __future__ import annotations

import torch

from benchmarks.rope.repetition import repetition
from s2flow_core.latent.resample import resize_video


def clip(seed: int, side: int) -> torch.Tensor:
    """(2, side, side, 3) of smooth random texture."""
    noise = torch.rand(2, side, side, 3, generator=torch.Generator().manual_seed(seed))
    return resize_video(resize_video(noise, (side // 4, side // 4), "area"), (side, side))


def test_a_picture_tiled_from_itself_repeats_and_another_does_not():
    tile = clip(0, 64)
    assert repetition(tile.repeat(1, 2, 2, 1), 64) > 0.95
    assert abs(repetition(clip(1, 128), 64)) < 0.2
