"""Two published ways to guide a high-resolution run by a small one, as sampler functions to compare with.

They follow the published algorithms on the small model's latents; what differs from the released code for
image models is said where it differs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.common.small_model import coarse
from s2flow_core.solver.alignment import align_low_frequencies, decaying_strength

# DiffuseHigh: the steps whose coarse part is replaced.
GUIDED_STEPS = 5
# HiFlow at 2x: strengths of the alignment of direction and of acceleration, both decaying linearly.
DIRECTION, ACCELERATION = 1.0, 0.5


def diffusehigh(enlarged: Tensor) -> Callable:
    """Euler whose first estimates take their coarse part from the enlarged small video.

    enlarged: (B, C, T, H, W) in LATENT space. Coarse means 2x2 cells (a Haar wavelet; released: db4), and
    the enlarged video is not sharpened.
    """

    @torch.no_grad()
    def sample(model: Any, x: Tensor, sigmas: Tensor, extra_args: dict, **_: Any) -> Tensor:
        reference = model.inner_model.inner_model.process_latent_in(enlarged.to(x))
        ones = x.new_ones(x.shape[0])
        for i in range(len(sigmas) - 1):
            denoised = model(x, sigmas[i] * ones, **extra_args)
            if i < GUIDED_STEPS:
                denoised = denoised + coarse(reference - denoised)
            x = x + (sigmas[i + 1] - sigmas[i]) * (x - denoised) / sigmas[i]
        return x

    return sample


def hiflow(record_at_high_res: Callable, trajectory: Any) -> Callable:
    """Euler with HiFlow's alignment of direction (low frequencies) and of acceleration.

    record_at_high_res: the pack's RecordAtHighRes. The reference flow is the record's own, enlarged.
    """

    @torch.no_grad()
    def sample(model: Any, x: Tensor, sigmas: Tensor, extra_args: dict, **_: Any) -> Tensor:
        record = record_at_high_res(trajectory, model.inner_model.inner_model.process_latent_in, x, sigmas)
        ones = x.new_ones(x.shape[0])
        steps = len(sigmas) - 1
        previous = None
        for i in range(steps):
            sigma = float(sigmas[i])
            denoised = model(x, sigmas[i] * ones, **extra_args)
            strength = decaying_strength(DIRECTION, i, steps)
            denoised = align_low_frequencies(denoised, record.denoised(i), strength)
            velocity = (x - denoised) / sigma
            if previous is not None:
                expected = record.field.velocity_at(sigma) - record.field.velocity_at(float(sigmas[i - 1]))
                pull = decaying_strength(ACCELERATION, i, steps)
                velocity = velocity + pull * (expected - (velocity - previous))
            previous = velocity
            x = x + (sigmas[i + 1] - sigmas[i]) * velocity
        return x

    return sample
