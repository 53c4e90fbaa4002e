"""Masks as models pass them become one bias per key, or are refused."""

from __future__ import annotations

import naive_attention as naive
import pytest
import torch
from attention_cases import TOLERANCE, relative_error
from torch import Tensor

from s2flow_core.attention.errors import WindowsNotApplicable
from s2flow_core.attention.window_attention import window_attention
from s2flow_core.windows.grid import TokenGrid


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_mask_of_the_lowest_finite_number_hides_keys(dtype):
    """Hosts write 'hidden' as -finfo.max, which overflows to -inf or not depending on the dtype."""
    grid = TokenGrid((2, 4, 4), (1, 2, 2))
    q, k, v = (torch.randn(1, 1, grid.tokens + 6, 64).to(dtype) for _ in range(3))
    mask = torch.zeros(1, 1, 1, grid.tokens + 6)
    mask[..., -3:] = -torch.finfo(torch.float32).max
    extents = torch.tensor([[1, 2, 1]])
    out = window_attention(q, k, v, grid, extents, suffix=6, key_mask=mask, backend="torch_boxes")
    bias = torch.zeros(1, grid.tokens + 6)
    bias[:, -3:] = -torch.inf
    expected = naive.attention(q, k, v, grid.shape, grid.tile, extents.tolist(), bias=bias)
    assert relative_error(out, expected) <= TOLERANCE[dtype]


def many_layouts() -> list[tuple[Tensor, bool]]:
    """Masks for 2 videos, 3 heads, 20 tokens; and whether they are one per key."""
    per_key = torch.randn(2, 20)
    return [
        (per_key, True),
        (per_key[:1], True),
        (per_key[0], True),
        (per_key[:, None], True),
        (per_key[:, None, None], True),
        (per_key[:, None, None].expand(2, 3, 20, 20), True),
        (torch.randn(20, 20), False),
        (torch.randn(2, 20, 20), False),
        (torch.randn(2, 1, 20, 20), False),
        (torch.randn(2, 3, 1, 20), False),
        (torch.randn(2, 19), False),
        (torch.randn(5, 20), False),
    ]


@pytest.mark.parametrize(("mask", "applicable"), many_layouts())
def test_masks_are_reduced_to_keys_or_refused(mask: Tensor, applicable: bool):
    grid = TokenGrid((1, 4, 5), (1, 2, 2))
    q, k, v = (torch.randn(2, 3, 20, 64) for _ in range(3))
    extents = torch.ones(3, 3, dtype=torch.int32)
    if not applicable:
        with pytest.raises(WindowsNotApplicable, match="mask"):
            window_attention(q, k, v, grid, extents, key_mask=mask, backend="torch_boxes")
        return
    out = window_attention(q, k, v, grid, extents, key_mask=mask, backend="torch_boxes")
    bias = mask if mask.ndim == 2 else mask.reshape(-1, 20) if mask.ndim == 1 else mask.flatten(1, -2)[:, 0]
    expected = naive.attention(q, k, v, grid.shape, grid.tile, extents.tolist(), bias=bias.expand(2, 20))
    assert relative_error(out, expected) <= 1e-5
