"""Alignment moves the coarse part toward the reference and leaves the fine part alone."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s2flow_core.solver.alignment import align_low_frequencies, cosine_basis, decaying_strength, low_pass

SHAPE = (1, 2, 3, 16, 24)


def latent(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def wave(vertical: int, horizontal: int) -> torch.Tensor:
    """One cosine of the transform, in every frame."""
    rows, columns = cosine_basis(SHAPE[-2])[vertical], cosine_basis(SHAPE[-1])[horizontal]
    return (rows[:, None] * columns).expand(SHAPE)


@given(st.integers(1, 40))
def test_cosine_basis_is_orthonormal(size: int):
    basis = cosine_basis(size)
    torch.testing.assert_close(basis @ basis.T, torch.eye(size, dtype=torch.float64))


@given(st.integers(0, 15), st.integers(0, 23), st.floats(0.05, 0.9))
def test_low_pass_scales_every_wave_by_the_butterworth_response(v: int, h: int, cutoff: float):
    response = 1 / (1 + (math.hypot(v / 16, h / 24) / cutoff) ** 8)
    torch.testing.assert_close(low_pass(wave(v, h), cutoff), response * wave(v, h))


def test_constants_pass_and_are_aligned_completely():
    flat = torch.ones(SHAPE, dtype=torch.float64)
    torch.testing.assert_close(low_pass(flat, 0.2), flat)
    torch.testing.assert_close(align_low_frequencies(0 * flat, flat, 1.0), flat)


def test_the_coarse_part_moves_and_the_fine_part_stays():
    fine, coarse = wave(15, 23), wave(0, 1)
    aligned = align_low_frequencies(fine, coarse, 0.5, cutoff=0.3)
    torch.testing.assert_close(aligned, fine + 0.5 * coarse, atol=1e-3, rtol=0)


@given(st.floats(0.0, 1.0))
def test_alignment_is_linear_in_its_strength_and_off_at_0(strength: float):
    a, b = latent(0), latent(1)
    torch.testing.assert_close(
        align_low_frequencies(a, b, strength), a + strength * (align_low_frequencies(a, b, 1.0) - a)
    )
    assert align_low_frequencies(a, b, 0.0) is a


def test_strength_decays_to_nothing_after_the_last_step():
    strengths = [decaying_strength(0.6, step, 6) for step in range(6)]
    assert strengths == pytest.approx([0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


@pytest.mark.parametrize("strength", [-0.1, 1.1, math.nan])
def test_strength_out_of_range_is_named(strength: float):
    with pytest.raises(ValueError, match=f"strength is {strength}"):
        align_low_frequencies(latent(0), latent(1), strength)
