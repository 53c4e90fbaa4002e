"""Noise reshift: on to a smaller size in the middle of a run (Bowtie-flow, section 3.2).

The first k steps at the model's own size decide the layout; the rest run on fewer tokens. Equation 2 of the
paper adds the noise to the unscaled estimate, which is the variance-exploding form, while its estimate
`z - sigma·u` is that of a flow. Here the state at the smaller size is that of a flow: `(1-sigma)·D_small +
sigma·eps`.

The paper leaves open whether step k is evaluated again. It is not: after k steps the last estimate is noised
to sigma_k, the sigma that the run has reached, so no model call is spent twice and scale 1 changes nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..latent.flow import SNR_MODES, low_res_sigma
from ..latent.noise import coarse_noise, white_noise
from ..latent.resample import check_finite, resize_latent

NOISE_MODES = ("consistent", "fresh")
# What a model's own error may add to the noise of a right k: on the small model under CFG 7.5 up to 5 %, and
# a tenth in the last few of 40 steps, which lie far apart.
_CREDIBLE = math.log(1.1)
# Correlation of noise and clean estimate: 0 to .2 on the small model, near -1 where the two are crossed.
_CROSSED = -0.5
# A deviation further from that of every step comes from no run over these sigmas.
_EXPLAINED = math.log(2)


def remaining_sigmas(sigmas: Tensor, k: int, snr: str = "literal", factor: float = 1.0) -> Tensor:
    """sigma of the steps after the first k, for a run at 1/factor of the size; (N-k+1,).

    snr "literal": the same sigma (the paper). "snr_matched": sigma_L = sigma/(s-(s-1)·sigma). The same sigma
    hides more of a smaller picture; this one hides as much as before. For a schedule of shift a it is the
    schedule of shift a/s, so it is also the shift that suits the smaller size. Raises ValueError unless 1 <=
    k < N, and for another mode.
    """
    steps = len(sigmas) - 1
    if not 1 <= k < steps:
        raise ValueError(
            f"k is {k}, but this schedule has {steps} steps: k is how many of them ran at the large size, "
            f"so choose 1 to {steps - 1}. The paper changes after 10 of 40."
        )
    rest = sigmas[k:]
    if snr == "literal":
        return rest.clone()
    if snr == "snr_matched":
        return low_res_sigma(rest, factor)
    raise ValueError(f"Unknown sigma mode '{snr}'; choose one of {', '.join(SNR_MODES)}.")


def shrink_estimate(denoised: Tensor, size: tuple[int, int], method: str = "area") -> Tensor:
    """D_small: the clean estimate (B, C, T, H, W) at `size` (h, w), antialiased; in LATENT or model space."""
    check_finite(denoised, "The denoised latent")
    return resize_latent(denoised.float(), size, method)


def noise_in_state(state: Tensor, denoised: Tensor, sigma: float) -> Tensor:
    """Noise that is left in ComfyUI's handed-over latent after k steps, in unit variance.

    state: what a sampler returns when it stops at sigma > 0, the state divided by 1-sigma. Both tensors are
    in model space: `n = ((1-sigma)·state - (1-sigma)·D)/sigma`.
    """
    check_finite(state, "The noisy latent")
    return (1 - sigma) / sigma * (state - denoised)


def check_step_of_noise(noise: Tensor, sigmas: Tensor, k: int) -> None:
    """Raise a ValueError if the noise of `noise_in_state` at sigma_k is that of a run that stopped elsewhere.

    noise: (B, C, T, H, W) in model space; sigmas: the whole schedule. What stopped at sigma' and is read at
    sigma_k has the deviation r(sigma')/r(sigma_k) with r = sigma/(1-sigma), because ComfyUI hands over D +
    r(sigma')·n.
    """
    deviation = noise.std().double().cpu()
    inner = sigmas[1:-1].double().cpu()
    ratio = inner / (1 - inner)  # (N-1,), after 1...N-1 steps
    distance = ((ratio / ratio[k - 1]).log() - deviation.log()).abs()
    likely = int(distance.argmin()) + 1
    if not distance.min() < _EXPLAINED:
        raise ValueError(
            f"noisy_latent less latent should be noise of deviation 1, but at step k = {k} it has "
            f"{float(deviation):.2f}, which no step of these sigmas explains. Connect output to noisy_latent "
            "and denoised_output to latent, both of the sampler that ran the first k steps, and to sigmas "
            "the schedule that was split for it."
        )
    if likely != k and distance[k - 1] > _CREDIBLE:
        raise ValueError(
            f"k is {k}, but the noise in noisy_latent is that of a run that stopped after {likely} of these "
            f"{len(sigmas) - 1} steps. Set k to {likely}, or step in Split Sigmas to {k}: both must be the "
            "same number."
        )


def check_clean(denoised: Tensor, noise: Tensor) -> None:
    """Raise a ValueError if the clean estimate holds the noise of `noise_in_state` with its sign turned.

    That is what crossed outputs give. Both (B, C, T, H, W), in model space.
    """
    pair = torch.stack([denoised.flatten(), noise.flatten()]).float()
    if torch.corrcoef(pair)[0, 1] < _CROSSED:
        raise ValueError(
            "latent holds the noise that noisy_latent lacks: the two are crossed. Connect the sampler's "
            "denoised_output to latent and its output to noisy_latent."
        )


def reshifted_noise(noise: Tensor | None, shape: tuple[int, ...], seed: int) -> Tensor:
    """Unit noise (B, C, T, h, w) for the smaller size.

    noise: (B, C, T, H, W) of the large run, whose coarse part is kept (`s·B(n)`, unit variance); None draws
    fresh noise.
    """
    if noise is None:
        return white_noise(shape, seed)
    small = (shape[-2], shape[-1])
    return (
        noise.float().cpu() if tuple(noise.shape[-2:]) == small else coarse_noise(noise.float().cpu(), small)
    )
