"""Masks as models pass them become one bias per key, or are refused."""

from __future__ import annotations

import naive_attention as naive
import pytest
import torch
from attention_cases import TOLERANCE, relative_error
from torch import Tensor

from s2flow_core.attention.errors import WindowsNotApplicable
from s2flow_core.attention.key_mask import key_bias
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.attention.window_attention import HeadWindows, window_attention
from s2flow_core.windows.grid import TokenGrid


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_mask_of_the_lowest_finite_number_hides_keys(dtype):
    """Hosts write 'hidden' as -finfo.max, which overflows to -inf or not depending on the dtype."""
    grid = TokenGrid((2, 4, 4), (1, 2, 2))
    q, k, v = (torch.randn(1, 1, grid.tokens + 6, 64).to(dtype) for _ in range(3))
    mask = torch.zeros(1, 1, 1, grid.tokens + 6)
    mask[..., -3:] = -torch.finfo(torch.float32).max
    extents = torch.tensor([[1, 2, 1]])
    out = window_attention(
        q, k, v, VideoSequence(grid, suffix=6, key_mask=mask), HeadWindows(extents), backend="torch_boxes"
    )
    bias = torch.zeros(1, grid.tokens + 6)
    bias[:, -3:] = -torch.inf
    expected = naive.attention(q, k, v, naive.Boxes(grid.shape, grid.tile, extents.tolist()), bias=bias)
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
            window_attention(
                q, k, v, VideoSequence(grid, key_mask=mask), HeadWindows(extents), backend="torch_boxes"
            )
        return
    out = window_attention(
        q, k, v, VideoSequence(grid, key_mask=mask), HeadWindows(extents), backend="torch_boxes"
    )
    bias = mask if mask.ndim == 2 else mask.reshape(-1, 20) if mask.ndim == 1 else mask.flatten(1, -2)[:, 0]
    expected = naive.attention(
        q, k, v, naive.Boxes(grid.shape, grid.tile, extents.tolist()), bias=bias.expand(2, 20)
    )
    assert relative_error(out, expected) <= 1e-5


LOWEST = torch.finfo(torch.float32).min


@pytest.mark.parametrize(
    ("mask", "bias"),
    [
        (torch.tensor([True, False, True]), [[0, -torch.inf, 0]] * 2),
        (torch.tensor([[True, True, True], [False, True, True]]), [[0, 0, 0], [-torch.inf, 0, 0]]),
        (torch.tensor([0.0, -1.5, LOWEST], dtype=torch.float64), [[0, -1.5, LOWEST]] * 2),
        (torch.tensor([[[[0.5, 0.0, 2.0]]]]), [[0.5, 0, 2]] * 2),
        (torch.tensor([[1.0], [2.0]]), [[1, 1, 1], [2, 2, 2]]),
    ],
)
def test_a_mask_becomes_one_number_per_key(mask: Tensor, bias: list[list[float]]):
    reduced = key_bias(mask, batch=2, tokens=3)
    assert reduced is not None and reduced.dtype == torch.float32
    assert reduced.tolist() == bias


@pytest.mark.parametrize(
    "mask",
    [None, torch.ones(3, dtype=torch.bool), torch.zeros(2, 1, 1, 3), torch.zeros(2, 4, 3, 3)[:, :1, :1]],
)
def test_a_mask_that_hides_nothing_is_none(mask: Tensor | None):
    assert key_bias(mask, batch=2, tokens=3) is None


def test_a_square_mask_per_query_is_told_from_one_per_video():
    """(3, 3) for a batch of 3 is one row of keys per video; for another batch it differs between queries."""
    square = torch.eye(3, dtype=torch.bool)
    per_video = key_bias(square, batch=3, tokens=3)
    assert per_video is not None and torch.equal(per_video == 0, square)
    with pytest.raises(WindowsNotApplicable, match="differs between queries"):
        key_bias(square, batch=2, tokens=3)
