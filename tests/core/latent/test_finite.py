"""Every NaN and infinity is seen, wherever it is, and looking takes no memory."""

from __future__ import annotations

import pytest
import torch
from failing_allocator import FailingAllocator

from s2flow_core.latent.finite import all_finite

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 500, 999])
def test_one_that_is_none_is_seen(dtype, value, place):
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert all_finite(x) and all_finite(x.view(10, 100).T)
    x[place] = value
    assert not all_finite(x) and not all_finite(x.view(10, 100).T)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_numbers_are_numbers(dtype):
    assert all_finite(torch.tensor([torch.finfo(dtype).max, torch.finfo(dtype).min], dtype=dtype))


def test_nothing_holds_no_nan():
    assert all_finite(torch.empty(0, 3))


def test_looking_takes_no_memory():
    x = torch.zeros(100_000)
    with FailingAllocator(1000) as memory:
        assert all_finite(x)
    assert memory.requests == 0
