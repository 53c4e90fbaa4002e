"""LR-consistent noise is white to test precision and its coarse part is the LR noise."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from s2flow_core.latent.noise import coarse_noise, lr_consistent_noise, standardised, white_noise
from s2flow_core.solver.alignment import cosine_basis

sizes = st.tuples(st.integers(2, 9), st.integers(2, 9))


def low_res_noise(h: int, w: int, frames: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(1, 4, frames, h, w, generator=torch.Generator().manual_seed(seed))


@given(sizes, st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**64 - 1))
@settings(max_examples=40)
def test_block_means_reproduce_the_lr_noise(low: tuple[int, int], rows: int, columns: int, seed: int):
    low_noise = low_res_noise(*low)
    noise = lr_consistent_noise(low_noise, (low[0] * rows, low[1] * columns), seed)
    means = F.avg_pool2d(noise.flatten(0, 2)[:, None], (rows, columns)).reshape(low_noise.shape)
    torch.testing.assert_close(means * math.sqrt(rows * columns), low_noise, atol=1e-5, rtol=0)


@given(sizes, st.floats(1.0, 3.0), st.floats(1.0, 3.0))
@settings(max_examples=40)
def test_any_ratio_keeps_the_lr_noise_and_can_be_taken_back(low: tuple[int, int], tall: float, wide: float):
    target = (math.ceil(low[0] * tall), math.ceil(low[1] * wide))
    low_noise = low_res_noise(*low)
    noise = lr_consistent_noise(low_noise, target, seed=1)
    torch.testing.assert_close(coarse_noise(noise, low), low_noise, atol=1e-5, rtol=0)


@pytest.mark.parametrize("target", [(12, 16), (9, 12), (7, 13), (6, 8)])
def test_covariance_is_the_identity(target: tuple[int, int]):
    low, cells = (6, 8), target[0] * target[1]
    # The result is linear in (LR noise, fresh noise). Unit vectors give the matrix of the first part.
    units = torch.eye(low[0] * low[1]).reshape(-1, 1, 1, *low)
    silent = lr_consistent_noise(torch.zeros_like(units), target, 0)
    from_low = (lr_consistent_noise(units, target, 0) - silent).reshape(-1, cells)  # (LR cells, HR cells)
    # The second part keeps of the fresh noise exactly what the first part leaves: a projection.
    kept = torch.eye(cells) - from_low.T @ from_low
    torch.testing.assert_close(kept @ kept, kept, atol=1e-5, rtol=0)
    fresh = white_noise(tuple(silent.shape), 0).reshape(-1, cells)
    torch.testing.assert_close(silent.reshape(-1, cells), fresh @ kept, atol=1e-5, rtol=0)


@pytest.mark.parametrize("target", [(32, 48), (24, 36), (25, 41)])
@pytest.mark.parametrize("agreement", [1.0, 0.6])
def test_mean_variance_and_spectrum_are_white(target: tuple[int, int], agreement: float):
    count = 512
    low = torch.randn(count, 1, 1, 16, 24, generator=torch.Generator().manual_seed(3))
    noise = lr_consistent_noise(low, target, seed=7, agreement=agreement)[:, 0, 0]
    cells = target[0] * target[1]
    assert abs(noise.mean().item()) < 4 / math.sqrt(count * cells)
    assert noise.var().item() == pytest.approx(1, abs=4 * math.sqrt(2 / (count * cells)))
    spectrum = cosine_basis(target[0]).float() @ noise @ cosine_basis(target[1]).float().T
    power = spectrum.square().mean(0)  # (H, W), each 1 ± sqrt(2/count)
    assert (power - 1).abs().max().item() < 6 * math.sqrt(2 / count)
    neighbours = (noise[:, :, 1:] * noise[:, :, :-1]).mean().item()
    assert abs(neighbours) < 5 / math.sqrt(count * cells)


def test_the_same_seed_on_both_sides_gives_independent_noise():
    # As an artist does it: 42 in RandomNoise, 42 here. Core draws LR noise with a plain generator.
    low = torch.randn(1, 16, 5, 16, 16, generator=torch.manual_seed(42))
    own = white_noise((1, 16, 5, 32, 32), 42)
    overlap = own.reshape(-1)[: low.numel()] * low.reshape(-1)
    assert abs(overlap.mean().item()) < 5 / math.sqrt(low.numel())
    assert lr_consistent_noise(low, (32, 32), 42).var().item() == pytest.approx(1, abs=0.02)


def test_seed_and_agreement_are_obeyed():
    low = low_res_noise(6, 6)
    first, again = (lr_consistent_noise(low, (12, 12), 5) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, lr_consistent_noise(low, (12, 12), 6))
    torch.testing.assert_close(lr_consistent_noise(low, (12, 12), 5, 0.0), white_noise((1, 4, 3, 12, 12), 5))


def test_standardised_noise_has_mean_0_and_deviation_1_per_channel():
    noise = standardised(low_res_noise(6, 6) * 0.8 + 0.3)
    torch.testing.assert_close(noise.mean(dim=(2, 3, 4)), torch.zeros(1, 4), atol=1e-6, rtol=0)
    torch.testing.assert_close(noise.std(dim=(2, 3, 4), unbiased=False), torch.ones(1, 4))


def test_bad_input_is_named():
    low = low_res_noise(6, 6)
    with pytest.raises(ValueError, match="8×5 is smaller than the LR latent 6×6"):
        lr_consistent_noise(low, (5, 8), 0)
    with pytest.raises(ValueError, match=r"agreement is 1\.5"):
        lr_consistent_noise(low, (12, 12), 0, 1.5)
    with pytest.raises(ValueError, match="5 axes"):
        lr_consistent_noise(low[0], (12, 12), 0)
