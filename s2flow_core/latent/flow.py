"""The arithmetic of rectified flow: the one place that converts between velocity, denoised, noise and sigma.

ComfyUI's convention holds throughout the pack: `x = (1-sigma)·clean + sigma·noise` with sigma falling from 1
to 0, so the velocity is `u = dx/dsigma = noise - clean = (x - D)/sigma`. The S²Flow paper's time is `t =
1-sigma` and its velocity is `v = -u`; Taylor steps keep their form because both signs flip together.

Log signal-to-noise ratio: `logsnr(sigma) = ln((1-sigma)/sigma)`. Averaging white noise over an s×s block
divides its deviation by s, so a video shown at s times the size under the same sigma carries `ln s` more
signal. The map `sigma' = s·sigma / (1 + (s-1)·sigma)` lowers logsnr by exactly `ln s` and so undoes it. It is
the same Möbius map as the "shift" of a flow schedule, which is why a shifted schedule suits a larger picture.
"""

from __future__ import annotations

import torch
from torch import Tensor

SNR_MODES = ("literal", "snr_matched")
"""What happens to sigma where the size changes: it stays, or hides as much of the picture as before."""

SAME_SIGMA = 1e-5
"""Sigmas this close are one: schedules are float32, and a real one's closest steps lie 100 times further."""


def velocity(x: Tensor, denoised: Tensor, sigma: Tensor | float) -> Tensor:
    """Velocity `u = (x - D)/sigma`, bit for bit what ComfyUI's Euler sampler computes (`to_d`); sigma > 0.

    x, denoised: one shape, (B, C, T, H, W) or any other. sigma: a number, () or (B,).
    """
    if isinstance(sigma, Tensor):
        # A sigma with x's number of dimensions promotes half precision to float32 as core's append_dims does.
        sigma = sigma.reshape(sigma.shape + (1,) * (x.ndim - sigma.ndim))
    return (x - denoised) / sigma


def denoised_from_velocity(x: Tensor, u: Tensor, sigma: Tensor | float) -> Tensor:
    """Clean estimate `D = x - sigma·u` that belongs to velocity u at state x; the inverse of `velocity`.

    x, u: one shape, (B, C, T, H, W) or any other. sigma: a number or (), in 0...1.
    """
    return x - sigma * u


def noise_estimate(x: Tensor, denoised: Tensor, sigma: Tensor | float) -> Tensor:
    """Noise that the state x still holds if its clean part is D: `n = D + u = (x - (1-sigma)·D)/sigma`.

    All tensors are in the model's own (unit-noise) space.
    """
    return denoised + velocity(x, denoised, sigma)


def renoise(clean: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
    """State `x = (1-sigma)·clean + sigma·noise`; the inverse of `noise_estimate` for the same clean part."""
    return (1 - sigma) * clean + sigma * noise


def snr_matched_sigma(sigma: Tensor, scale: float) -> Tensor:
    """sigma at `scale` times the size whose s×s block means have the signal-to-noise ratio of sigma at LR.

    `sigma' = s·sigma/(1+(s-1)·sigma)`, from logsnr(sigma') = logsnr(sigma) - ln s; 0 and 1 stay where they
    are. sigma: any shape, 0...1. The block mean of a state at sigma' is 1+(s-1)·sigma times smaller than the
    LR state, signal and noise alike.
    """
    return scale * sigma / (1 + (scale - 1) * sigma)


def low_res_sigma(sigma: Tensor, scale: float) -> Tensor:
    """Inverse of `snr_matched_sigma`: `sigma_L = sigma/(s-(s-1)·sigma)` at LR, whose logsnr is ln s more."""
    return sigma / (scale - (scale - 1) * sigma)


def shifted_sigmas(steps: int, shift: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """sigma schedule of a flow model: (steps+1,) from 1 to 0, evenly spaced and then shifted; shift > 0."""
    return snr_matched_sigma(torch.linspace(1, 0, steps + 1, dtype=dtype), shift)


def check_sigmas(sigmas: Tensor, name: str = "sigmas", to_zero: bool = True) -> None:
    """Raise a ValueError that names the input unless sigma falls strictly from at most 1 to exactly 0.

    sigmas: should be (N+1,) with N >= 1. to_zero=False lets it end earlier, for a run that another one
    continues.
    """
    if sigmas.ndim != 1 or sigmas.numel() < 2:
        raise ValueError(
            f"{name} holds {sigmas.numel()} value(s), so there is no step to run. "
            "Connect a scheduler with at least 1 step (2 sigma values)."
        )
    values = sigmas.detach().to("cpu", torch.float64)
    if not torch.isfinite(values).all():
        raise ValueError(f"{name} contains NaN or infinity. Connect the SIGMAS of a scheduler node.")
    if values[0] > 1 + 1e-6:
        raise ValueError(
            f"{name} starts at {values[0]:.4g}, but a flow model (Wan, HunyuanVideo) runs from 1 to 0. "
            "Make the sigmas with a scheduler that is connected to this model."
        )
    rises = torch.nonzero(values[1:] >= values[:-1])
    if len(rises):
        i = int(rises[0])
        verb = "repeats" if values[i + 1] == values[i] else "rises"
        raise ValueError(
            f"{name} {verb} at step {i + 1}: {values[i]:.4g} is followed by {values[i + 1]:.4g}. "
            "Sigmas must fall at every step; check the nodes that split or join them."
        )
    if values[-1] < 0:
        raise ValueError(f"{name} ends at {values[-1]:.4g}; sigmas cannot be negative. Use a scheduler node.")
    if to_zero and values[-1] != 0:
        raise ValueError(
            f"{name} ends at {values[-1]:.4g} instead of 0, so the video would stay noisy. "
            "Use the whole schedule or its last part (the low half of Split Sigmas)."
        )


def boundary_sigma(sigma: float) -> float:
    """What steps are compared with (sigma >= it is before the boundary) for a sigma that an artist typed.

    A schedule that holds the boundary comes out of float32 a little beside it (.9 as .89999998, .875 as
    .87499994), so it lies below what was typed by as much as one sigma may differ from itself; and it is a
    float32, so that who compares tensors and who compares numbers find the same steps.
    """
    return float(torch.tensor(sigma - SAME_SIGMA, dtype=torch.float32))
