"""Means with intervals from few seeds: everything is paired by seed."""

from __future__ import annotations

import torch
from torch import Tensor

DRAWS = 4000


def mean_interval(values: Tensor, level: float = 0.95) -> tuple[float, float, float]:
    """Mean of paired differences or values (n,), with the bootstrap interval's ends."""
    generator = torch.Generator().manual_seed(0)
    picks = torch.randint(len(values), (DRAWS, len(values)), generator=generator)
    means = values.double()[picks].mean(dim=1)
    low, high = torch.quantile(means, torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64))
    return float(values.double().mean()), float(low), float(high)
