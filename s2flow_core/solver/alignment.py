"""Optional guidance: hold the coarse part of the HR estimate to the LR one, so structure cannot drift.

The idea of HiFlow (initialisation and direction alignment in the low band), on the clean estimate and
with cosine transforms, which have no seam between opposite borders.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def cosine_basis(size: int) -> Tensor:
    """Orthonormal DCT-II matrix (frequency, position), float64; row k has k half waves."""
    frequency = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(math.pi / size * frequency[:, None] * (frequency[None] + 0.5))
    return F.normalize(basis, dim=1)


def low_pass(latent: Tensor, cutoff: float, order: int = 4) -> Tensor:
    """Butterworth low-pass of each frame of (..., T, H, W).

    cutoff: frequency of half response as a share of the Nyquist frequency, above 0; an LR video of half
    the size holds frequencies up to 0.5. order: steepness (HiFlow: 4).
    """
    rows, columns, response = (
        part.to(latent.device, latent.dtype) for part in _filter(*latent.shape[-2:], cutoff, order)
    )
    spectrum = rows @ latent @ columns.T  # (..., T, frequency H, frequency W)
    return rows.T @ (spectrum * response) @ columns


def align_low_frequencies(
    denoised: Tensor, reference: Tensor, strength: float, cutoff: float = 0.2
) -> Tensor:
    """`D + alpha·LP(reference - D)`: the clean estimate with its coarse part drawn toward the LR estimate.

    denoised, reference: (B, C, T, H, W) in one space, the reference upsampled. strength alpha: 0 (off) to 1;
    cutoff as in `low_pass`. Raises ValueError for a strength outside that range.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"The alignment strength is {strength}; choose 0 (off) to 1.")
    if strength == 0:
        return denoised
    return denoised + strength * low_pass(reference - denoised, cutoff)


def decaying_strength(strength: float, step: int, steps: int) -> float:
    """Strength at `step` of `steps`, falling linearly from `strength` to 0 just after the last step."""
    return strength * (1 - step / steps)


@lru_cache(maxsize=8)
def _filter(height: int, width: int, cutoff: float, order: int) -> tuple[Tensor, Tensor, Tensor]:
    """Both cosine bases and the (H, W) response between them."""
    vertical = torch.arange(height, dtype=torch.float64)[:, None] / height
    horizontal = torch.arange(width, dtype=torch.float64)[None] / width
    radius = (vertical**2 + horizontal**2).sqrt()
    return cosine_basis(height), cosine_basis(width), 1 / (1 + (radius / cutoff) ** (2 * order))
