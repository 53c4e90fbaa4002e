"""Runs on the exact flow: the pack's solver, its LR record, and a core sampler to compare with."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from benchmarks.solver.exact_flow import SIDE, MixtureFlow, block_average
from s2flow_core.latent.resample import resize_latent
from s2flow_core.solver.flow_solver import FlowSolver

SCALE = 2
LOW = SIDE // SCALE
REFERENCE_STEPS = 4000
# (order, source) of everything that FlowSolver can do.
METHODS = (
    (1, "none"),
    (2, "low_res"),
    (2, "history"),
    (2, "blend"),
    (3, "low_res"),
    (3, "history"),
    (3, "blend"),
)


def method_name(order: int, source: str) -> str:
    """How a row is called."""
    return "Euler" if source == "none" else f"order {order} {source}"


def solve(flow: MixtureFlow, x: Tensor, sigmas: Tensor, solver: FlowSolver) -> Tensor:
    """The pack's solver from x: (n, cells) to sigma = 0."""
    for i in range(len(sigmas) - 1):
        x = solver.step(x, flow.denoised(x, float(sigmas[i])), sigmas, i)
    return x


def euler_record(flow: MixtureFlow, x: Tensor, sigmas: Tensor) -> tuple[Tensor, Tensor]:
    """States and clean estimates of an Euler run at every sigma > 0, each (steps, n, cells)."""
    states, record = [], []
    for sigma, after in itertools.pairwise(sigmas):
        states.append(x)
        record.append(flow.denoised(x, float(sigma)))
        x = x + (x - record[-1]) / sigma * (after - sigma)
    return torch.stack(states), torch.stack(record)


def dpmpp_2m(flow: MixtureFlow, x: Tensor, sigmas: Tensor) -> Tensor:
    """Core's `dpmpp_2m`: second order in ln sigma, plain D at the last step."""
    previous = x
    denoised = x
    for i in range(len(sigmas) - 1):
        sigma, after = float(sigmas[i]), float(sigmas[i + 1])
        denoised = flow.denoised(x, sigma)
        if after == 0:
            break
        h = math.log(sigma / after)
        ahead = denoised
        if i > 0:
            last_h = math.log(float(sigmas[i - 1]) / sigma)
            ahead = denoised + (denoised - previous) * (h / (2 * last_h))
        x = after / sigma * x - math.expm1(-h) * ahead
        previous = denoised
    return denoised


def same_size(record: Tensor) -> Tensor:
    """The upsampling of a record that was made at HR."""
    return record


def bicubic(record: Tensor) -> Tensor:
    """(n, LR cells) -> (n, HR cells)."""
    return resize_latent(record.reshape(-1, 1, LOW, LOW), (SIDE, SIDE)).reshape(len(record), -1)


def coarse(noise: Tensor) -> Tensor:
    """Unit LR noise inside HR noise, (n, cells) -> (n, LR cells)."""
    return SCALE * noise @ block_average(SIDE, SCALE).T


def error(x: Tensor, exact: Tensor) -> float:
    """Relative L2 error, median over the starts (a few near a watershed would rule a mean)."""
    return ((x - exact).norm(dim=1) / exact.norm(dim=1)).median().item()
