"""dB of known errors."""

from __future__ import annotations

import pytest
import torch

from demo.clips.psnr import psnr


@pytest.mark.parametrize(
    ("off", "span", "decibels"), [(0.1, 1.0, 20.0), (0.01, 1.0, 40.0), (0.2, 2.0, 20.0), (1.0, 1.0, 0.0)]
)
def test_a_constant_error_has_its_decibels(off: float, span: float, decibels: float):
    video = torch.zeros(2, 4, 4, 3, dtype=torch.float64)
    assert psnr(video + off, video, span) == pytest.approx(decibels)


def test_no_error_is_infinite():
    assert psnr(torch.ones(3), torch.ones(3)) == float("inf")
