"""Degradations follow from their seed and lose detail."""

from __future__ import annotations

import pytest
import torch
from written_videos import CLIP

from training.refiner.data.degradation import PixelDegradation, blurred, compressed, degrade_pixels
from training.refiner.data.videos import (
    laplacian_variance,
)


def test_degradation_follows_from_its_seed_and_loses_detail():
    settings = PixelDegradation(chance=1.0)
    results = [
        degrade_pixels(CLIP, (32, 32), settings, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    ]
    assert results[0].shape == (9, 32, 32, 3)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert all(float(result.min()) >= 0 and float(result.max()) <= 1 for result in results)


def test_blur_keeps_the_mean_and_takes_the_edges():
    soft = blurred(CLIP, 1.5)
    assert soft.mean() == pytest.approx(float(CLIP.mean()), abs=0.01)
    assert laplacian_variance(soft.mean(-1)) < 0.3 * laplacian_variance(CLIP.mean(-1))


def test_compression_is_worse_at_lower_quality():
    errors = [float((compressed(CLIP, quality) - CLIP).square().mean()) for quality in (20, 60, 95)]
    assert errors[0] > errors[1] > errors[2] > 0
