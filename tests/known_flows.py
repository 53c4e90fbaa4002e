"""Flows whose velocity or end is known, and the record that an Euler run of them leaves."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from s2flow_core.solver.flow_solver import FlowSolver
from s2flow_core.solver.low_res_field import LowResField

MEAN, VARIANCE = 0.7, torch.tensor([0.2, 0.5, 1.0, 3.0], dtype=torch.float64)


def gaussian_denoised(x: Tensor, sigma: Tensor | float) -> Tensor:
    """Exact D of Gaussian data; its flow ends at MEAN + sqrt(VARIANCE) · noise."""
    clean = 1 - sigma
    gain = clean * VARIANCE / (clean**2 * VARIANCE + sigma**2)
    return MEAN + gain * (x - clean * MEAN)


def start_noise() -> Tensor:
    return torch.randn(64, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def solve(solver: FlowSolver, x: Tensor, sigmas: Tensor, denoiser=gaussian_denoised) -> Tensor:
    for i in range(len(sigmas) - 1):
        x = solver.step(x, denoiser(x, sigmas[i]), sigmas, i)
    return x


def euler_record(x: Tensor, sigmas: Tensor, denoiser=gaussian_denoised) -> Tensor:
    """(N, ...) clean estimates that an Euler run meets."""
    record = []
    for sigma, after in itertools.pairwise(sigmas):
        record.append(denoiser(x, sigma))
        x = x + (x - record[-1]) / sigma * (after - sigma)
    return torch.stack(record)


def record_of(velocity, sigmas: Tensor) -> Tensor:
    """Clean estimates (N, 1, 2) of an Euler run whose velocity is a known function of sigma."""
    values = [0.0]
    for before, after in itertools.pairwise(sigmas[:-1].tolist()):
        values.append(values[-1] - after * (velocity(after) - velocity(before)))
    return torch.tensor(values, dtype=torch.float64)[:, None, None].expand(-1, 1, 2)


def field_of(velocity, sigmas: Tensor, **options) -> LowResField:
    """A record whose velocity is a known function of sigma."""
    return LowResField(sigmas, record_of(velocity, sigmas), lambda denoised: denoised, **options)
