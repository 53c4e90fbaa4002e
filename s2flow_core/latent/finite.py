"""Whether a tensor holds numbers only."""

from __future__ import annotations

import torch
from torch import Tensor


def all_finite(x: Tensor) -> bool:
    """Whether no number of a floating point tensor is NaN or infinite.

    By its two extremes, which NaN passes through: `isfinite` would ask for memory as large as x, and a run
    that has just enough must not fail where it is only looked at.
    """
    return x.numel() == 0 or bool(torch.isfinite(torch.stack(torch.aminmax(x))).all())
