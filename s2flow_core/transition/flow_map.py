"""Flow maps: the straight path from the small video to the large one, in place of noise to video.

A Refiner is trained on `x = (1-sigma)·z_HR + sigma·z_LR` to predict `dx/dsigma = z_LR - z_HR` (Bowtie-flow
B.2, FlashVideo stage 2). In ComfyUI's convention that is an ordinary flow whose "noise" is the enlarged small
latent: any flow sampler runs it from sigma = 1 to 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..latent.flow import low_res_sigma, shifted_sigmas, snr_matched_sigma

MODES = ("flow_map", "flashvideo", "renoise")

# FlashVideo's stage 2 names its degradation by a step of this DDPM schedule (SAT's ZeroSNRDDPM, shift 1).
_DDPM_STEPS = 1000
_DDPM_FIRST, _DDPM_LAST = 0.00085, 0.012
# The published inference step, in the middle of 650 to 750.
REFERENCE_STEP = 675


@dataclass(frozen=True)
class StepGrid:
    """Number of model calls and the shift that spaces them."""

    steps: int
    shift: float


# What each mode was published with; `renoise` is no published method and takes the model's own shift.
DEFAULT_GRIDS = {
    "flow_map": StepGrid(10, 1.0),
    "flashvideo": StepGrid(5, 2.5),
    "renoise": StepGrid(10, 3.0),
}


def reference_signal(step: int) -> float:
    """Share of the signal that is left at a reference step, 0...999: `sqrt(alpha_bar)` of a zero-SNR DDPM.

    The noise that goes with it is `sqrt(1-share²)`. Step 675 gives 0.264. Raises ValueError outside the
    schedule.
    """
    if not 0 <= step < _DDPM_STEPS:
        raise ValueError(
            f"The reference step is {step}, but FlashVideo's schedule runs from 0 (no degradation) to "
            f"{_DDPM_STEPS - 1} (pure noise). It was published with {REFERENCE_STEP}."
        )
    betas = torch.linspace(_DDPM_FIRST**0.5, _DDPM_LAST**0.5, _DDPM_STEPS, dtype=torch.float64) ** 2
    roots = (1 - betas).cumprod(0).sqrt()
    # Rescaled so that the last step holds no signal at all.
    return float((roots[step] - roots[-1]) * roots[0] / (roots[0] - roots[-1]))


def degraded(latent: Tensor, noise: Tensor, signal: Tensor | float) -> Tensor:
    """`alpha·z + sqrt(1-alpha²)·eps`: hides the detail of the small video, so that the Refiner draws it anew.

    Keeps the variance of a unit-variance latent. All in model space; signal: alpha in 0...1.
    """
    return signal * latent + (1 - signal**2) ** 0.5 * noise


def flow_map_sigmas(steps: int, shift: float) -> Tensor:
    """sigma from 1 to 0 for a flow map, (steps+1,). FlashVideo's six published values are 5 steps, shift 2.5.

    Raises ValueError for fewer than 1 step or a shift not above 0.
    """
    _check_grid(steps, shift)
    return shifted_sigmas(steps, shift)


def renoise_sigmas(steps: int, shift: float, strength: float) -> Tensor:
    """sigma from `strength` to 0 on a schedule of this shift, (steps+1,); for models that know no flow map.

    Raises ValueError for fewer than 1 step, a shift not above 0, or a strength outside (0, 1].
    """
    _check_grid(steps, shift)
    if not 0 < strength <= 1:
        raise ValueError(
            f"strength is {strength:g}; it is the sigma at which the Refiner starts, above 0 and at most 1."
        )
    first = low_res_sigma(torch.tensor(strength), shift)
    sigmas = snr_matched_sigma(torch.linspace(float(first), 0, steps + 1), shift)
    sigmas[0] = strength
    return sigmas


def refiner_sigmas(mode: str, steps: int, shift: float, strength: float) -> Tensor:
    """The mode's sigma, (steps+1,) falling to 0; 0 steps or shift stand for the published ones.

    mode: one of MODES; strength counts in "renoise" alone. Raises ValueError as the mode's own function does.
    """
    grid = DEFAULT_GRIDS[mode]
    steps, shift = steps or grid.steps, shift or grid.shift
    return renoise_sigmas(steps, shift, strength) if mode == "renoise" else flow_map_sigmas(steps, shift)


def _check_grid(steps: int, shift: float) -> None:
    if steps < 1 or shift <= 0:
        raise ValueError(
            f"The Refiner needs at least 1 step and a shift above 0; got {steps} steps, shift {shift:g}."
        )
