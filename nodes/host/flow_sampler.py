"""Our solver as a k-diffusion style sampler function: one short loop for the node and for core's samplers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...s2flow_core.resample import resize_latent
from ...s2flow_core.solver import FlowSolver, LowResField
from ...s2flow_core.trajectory import Trajectory
from ...s2flow_core.transition import recorded_scale
from .guided_sampling import GuidedModel, SamplerFunction

# The sources that look into the LR record.
RECORD_SOURCES = ("low_res", "blend")


def flow_sampler(order: int, source: str, trajectory: Trajectory | None) -> SamplerFunction:
    """A sampler function; the solver's history lives for one call of it."""

    @torch.no_grad()
    def sample(
        model: Callable,
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Callable | None = None,
        disable: bool = False,
    ) -> Tensor:
        field = None
        if trajectory is not None and source in RECORD_SOURCES and order > 1:
            require_same_video(trajectory, x)
            # KSampler hands down the inpainting wrapper around the guider around the model.
            field = low_res_field(model.inner_model.inner_model.process_latent_in, trajectory, x, sigmas)
        guided = GuidedModel(model, x, extra_args)
        solver = FlowSolver(order=order, source=source, field=field)
        for i, sigma in enumerate(sigmas[:-1]):
            denoised = guided.denoised(x, sigma)
            if callback is not None:
                callback({"i": i, "denoised": denoised, "x": x})
            x = solver.step(x, denoised, sigmas, i)
        return x

    return sample


def require_record(order: int, source: str, trajectory: Trajectory | None) -> None:
    """Raises if the derivative needs the LR record and there is none."""
    if order > 1 and source in RECORD_SOURCES and trajectory is None:
        raise ValueError(
            f"Order {order} with the derivative '{source}' needs the trajectory of the Low-Res Sampler. "
            "Connect it, choose the derivative 'history', or set the order to 1."
        )


def require_same_video(trajectory: Trajectory, samples: Tensor) -> None:
    """Raises unless an HR latent can follow the LR run: same batch and frames, and not smaller."""
    small, large = trajectory.latent_shape, tuple(samples.shape)
    if small[:3] != large[:3]:
        raise ValueError(
            f"The trajectory holds {small[0]} video(s) of {small[2]} latent frames, {small[1]} channels; "
            f"latent_image holds {large[0]} of {large[2]} with {large[1]}. Use the latent that S²Flow "
            "Upsample made from this trajectory."
        )
    if small[3] > large[3] or small[4] > large[4]:
        raise ValueError(
            f"latent_image is {large[4]}×{large[3]} cells, smaller than the low-resolution run's "
            f"{small[4]}×{small[3]}. Choose a larger size in S²Flow Upsample."
        )


def low_res_field(
    process_in: Callable[[Tensor], Tensor], trajectory: Trajectory, x: Tensor, sigmas: Tensor
) -> LowResField:
    """The LR record as the solver sees it: differences of clean estimates, enlarged, in model space.

    process_in: LATENT space to model space, affine per channel. x: the HR state (B, C, T, H, W).
    """
    small, large = trajectory.latent_shape, x.shape

    def upsample(difference: Tensor) -> Tensor:
        enlarged = resize_latent(difference.to(x.device, torch.float32), (large[-2], large[-1]))
        # Differences take only the linear part of the latent format.
        return process_in(enlarged) - process_in(torch.zeros_like(enlarged))

    scale = math.sqrt(large[-2] / small[-2] * large[-1] / small[-1])
    snr_scale = recorded_scale(sigmas, trajectory.sigmas, scale)
    return LowResField(trajectory.sigmas, trajectory.denoised, upsample, snr_scale)
