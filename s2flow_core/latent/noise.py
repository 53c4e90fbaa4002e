"""HR noise that is exactly white and still agrees with the noise of the LR run.

A picture's layout is decided by its noise. If the coarse part of the HR noise is the LR noise, both
models are shown the same start and the HR run refines the LR picture instead of another one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor

from .area import area_overlap

_ODD = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: an odd factor, so different seeds stay different
_LARGEST = 2**64  # torch's generators take seeds below it


def white_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Unit white noise of `shape` on the CPU, float32, from a stream of its own; seed: any whole number.

    The seed is scrambled on purpose: artists set the same number in the LR run's RandomNoise and here,
    and the same number in the same generator would make this noise a copy of parts of the LR noise.
    """
    generator = torch.Generator(device="cpu").manual_seed((seed * _ODD + 1) % _LARGEST)
    return torch.randn(shape, generator=generator, device="cpu")


def standardised(noise: Tensor) -> Tensor:
    """Noise (B, C, T, H, W) shifted and scaled to mean 0 and deviation 1 in every channel of every video.

    The noise estimate of a real run is only nearly white, because the clean estimate that it rests on
    is not exact. A left-over mean would tint the HR video and a deviation below 1 would blur it.
    """
    mean = noise.mean(dim=(-3, -2, -1), keepdim=True)
    deviation = noise.std(dim=(-3, -2, -1), keepdim=True, unbiased=False)
    return (noise - mean) / deviation.clamp_min(1e-6)


def coarse_noise(noise: Tensor, low_res_hw: tuple[int, int]) -> Tensor:
    """The white LR noise (B, C, T, h, w) inside HR noise (B, C, T, H, W): block means times sqrt(block size).

    This is what `lr_consistent_noise` keeps, and what a switch to a smaller size starts from.
    """
    rows, columns = _coarse_axes(low_res_hw, (noise.shape[-2], noise.shape[-1]), noise)
    return rows @ noise @ columns.T  # (B, C, T, h, w)


def lr_consistent_noise(
    lr_noise: Tensor, target_hw: tuple[int, int], seed: int, agreement: float = 1.0
) -> Tensor:
    """Exactly white HR noise whose coarse part is the LR noise.

    lr_noise: (B, C, T, h, w), unit white noise in model space. target_hw: (H, W), each at least (h, w).
    agreement: correlation between the coarse part and the LR noise, 0 (fresh noise) to 1.
    Returns (B, C, T, H, W) float32 on the CPU.

    With P the map from HR noise to coarse noise (`coarse_noise`) and eps fresh noise the result is
    `eps + P^T(n_LR - P·eps)`. The rows of P are orthonormal, so this only replaces coordinates of a white
    vector by other white coordinates. For a whole-number ratio s it reads
    `eps - R(B(eps)) + R(n_LR)/s` with block mean B and nearest repeat R: block means are n_LR/s.

    Raises ValueError for noise of other axes, an agreement outside 0...1, or a target below the LR size.
    """
    if lr_noise.ndim != 5:
        raise ValueError(f"The LR noise must have 5 axes (B, C, T, H, W), not {lr_noise.ndim}.")
    if not 0 <= agreement <= 1:
        raise ValueError(
            f"Noise agreement is {agreement}; it must lie between 0 (fresh) and 1 (as in the LR run)."
        )
    h, w = lr_noise.shape[-2:]
    if target_hw[0] < h or target_hw[1] < w:
        raise ValueError(
            f"The target latent {target_hw[1]}×{target_hw[0]} is smaller than the LR latent {w}×{h}. "
            "Use a scale of 1 or more."
        )
    lr_noise = lr_noise.to("cpu", torch.float32)
    fresh = white_noise((*lr_noise.shape[:3], *target_hw), seed)  # (B, C, T, H, W)
    rows, columns = _coarse_axes((h, w), target_hw, fresh)
    own_coarse = rows @ fresh @ columns.T  # (B, C, T, h, w)
    coarse = agreement * lr_noise + (1 - agreement**2) ** 0.5 * own_coarse
    return fresh + rows.T @ (coarse - own_coarse) @ columns


def _coarse_axes(small: tuple[int, int], large: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
    """The two factors of P, (h, H) and (w, W), with the dtype and device of `like`."""
    rows, columns = (_orthonormal_area_rows(s, g) for s, g in zip(small, large))
    return rows.to(like), columns.to(like)


@lru_cache(maxsize=16)
def _orthonormal_area_rows(small: int, large: int) -> Tensor:
    """(small, large) matrix with orthonormal rows, nearest to averaging each of `small` equal intervals.

    Interval averages of neighbours share a cell when the ratio is not whole, so their noise would be
    correlated. The symmetric (Löwdin) orthonormalisation (AA^T)^(-1/2)·A removes that with the least
    change; for a whole ratio it is exactly sqrt(ratio) times the block mean.
    """
    area = area_overlap(large, small)  # (small, large)
    values: Tensor  # (small,)
    vectors: Tensor  # (small, small)
    values, vectors = cast(Any, torch.linalg).eigh(area @ area.T)  # torch.linalg has no types
    return vectors @ (vectors / values.sqrt()).T @ area
