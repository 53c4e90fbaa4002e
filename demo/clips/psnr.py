"""Peak signal-to-noise ratio, the same for benchmarks, measures and training."""

from __future__ import annotations

import torch
from torch import Tensor


def psnr(video: Tensor, reference: Tensor, span: float = 1.0) -> float:
    """dB between two videos of one shape; span: from the least to the greatest value that they may have."""
    error = (video - reference).square().mean()
    return float(10 * torch.log10(span**2 / error))
