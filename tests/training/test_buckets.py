"""Buckets are whole units, as large as asked for, and never enlarge."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.refiner.data.buckets import UNIT, bucket_size, fit_bucket


@given(st.integers(32, 3000), st.integers(32, 3000), st.sampled_from([256**2, 1280 * 720]))
def test_a_bucket_is_whole_units_and_never_enlarges(width: int, height: int, area: int):
    tall, wide = bucket_size(width, height, area)
    assert tall % UNIT == wide % UNIT == 0
    assert tall <= height and wide <= width
    assert tall * wide <= area or UNIT in (tall, wide)


def test_published_sizes_stay_what_they_are():
    assert bucket_size(1280, 720, 1280 * 720) == (704, 1280)  # 720 is no multiple of 32
    assert bucket_size(960, 960, 960 * 960) == (960, 960)
    with pytest.raises(ValueError, match="20×400 pixels"):
        bucket_size(20, 400, 10**6)


def test_fit_bucket_crops_the_middle():
    frames = torch.zeros(1, 40, 100, 3)
    frames[:, :, 30:70] = 1
    fitted = fit_bucket(frames, (40, 40))
    assert fitted.shape == (1, 40, 40, 3)
    assert fitted.min() > 0.99
