"""Boxes of slices compute what the definition says, and copy little."""

from __future__ import annotations

import naive_attention as naive
import pytest
import torch
from attention_cases import TOLERANCE, Case, cases, compute, reference, relative_error
from hypothesis import given, settings

from benchmarks.common.live_memory import LiveMemory
from s2flow_core.attention.backends import torch_boxes
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.attention.window_attention import HeadWindows, window_attention
from s2flow_core.windows.grid import TokenGrid


@given(cases())
@settings(max_examples=300)
def test_torch_boxes_matches_the_definition(case: Case):
    result = compute(case, "torch_boxes")
    assert result.dtype == case.dtype and result.shape == (case.batch, case.heads, case.tokens, case.dim)
    assert not result.isnan().any()
    assert relative_error(result, reference(case)) <= TOLERANCE[case.dtype]


@given(cases())
@settings(max_examples=100)
def test_tail_matches_its_definition(case: Case):
    result = compute(case, "torch_boxes", tail=True)
    assert not result.isnan().any()
    assert relative_error(result, reference(case, tail=True)) <= TOLERANCE[case.dtype]


@given(cases(dtypes=(torch.float32,)))
@settings(max_examples=40)
def test_cutting_the_work_to_fit_memory_changes_nothing(case: Case):
    whole = compute(case, "torch_boxes", tail=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(torch_boxes._MOST_KEY_ELEMENTS, "cpu", 1)
        assert torch.allclose(compute(case, "torch_boxes", tail=True), whole, atol=1e-5)


def test_windows_beside_masked_text_copy_little(monkeypatch):
    """With the boxes' copies in the proportion that they have on a GPU, and as many heads."""
    grid, heads = TokenGrid((3, 24, 24), (1, 4, 4)), 16
    q, k, v = (torch.randn(1, heads, grid.tokens + 7, 64) for _ in range(3))
    mask = torch.zeros(1, 1, 1, grid.tokens + 7)
    mask[..., -3:] = -torch.inf
    monkeypatch.setitem(torch_boxes._MOST_KEY_ELEMENTS, "cpu", k.numel() // 10)
    extents = torch.tensor([[1, 3, 3], [3, 2, 2]] * (heads // 2))
    with LiveMemory() as memory:
        window_attention(
            q,
            k,
            v,
            VideoSequence(grid, suffix=7, key_mask=mask),
            HeadWindows(extents, tail=True),
            backend="torch_boxes",
        )
    output = q.numel() * q.element_size()
    assert memory.peak - output < 0.6 * output


@pytest.mark.parametrize("strides", [(2**31, 192), (0, 2**26)], ids=["batch", "token"])
def test_addresses_beyond_two_to_the_31_are_right(strides):
    """As with batch 2 of 460,800 tokens; memory that is never touched is never allocated."""
    grid = TokenGrid((2, 4, 5), (1, 2, 2))
    far, step = strides
    batch = 2 if far else 1
    memory = torch.empty(far + grid.tokens * step + 192, dtype=torch.float16)
    q, k, v = (
        memory.as_strided((batch, 1, grid.tokens, 64), (far, 64, step, 1), part * 64) for part in range(3)
    )
    for x in (q, k, v):
        x.copy_(torch.randn(x.shape))
    extents = torch.tensor([[1, 2, 2]])
    out = window_attention(q, k, v, VideoSequence(grid), HeadWindows(extents), backend="torch_boxes")
    expected = naive.attention(q, k, v, naive.Boxes(grid.shape, grid.tile, extents.tolist()))
    assert relative_error(out, expected) <= TOLERANCE[torch.float16]
