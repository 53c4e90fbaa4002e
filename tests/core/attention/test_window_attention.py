"""The door gives every backend the same call, and refuses what cannot be windowed."""

from __future__ import annotations

import naive_attention as naive
import pytest
import torch
import torch.nn.functional as F
from attention_cases import TOLERANCE, Case, cases, compute, relative_error
from hypothesis import given, settings

from benchmarks.common.live_memory import LiveMemory
from s2flow_core.attention.call import VisitedKeys
from s2flow_core.attention.errors import BackendRefused, WindowsNotApplicable
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.attention.window_attention import (
    HeadWindows,
    attention_density,
    count_visited_keys,
    window_attention,
)
from s2flow_core.windows.grid import TokenGrid


@given(cases())
@settings(max_examples=30)
def test_windows_of_the_whole_grid_are_plain_attention(case: Case):
    whole = Case(**{**case.__dict__, "extents": (case.grid.tiles,) * case.heads})
    q, k, v = (x.double() for x in whole.tensors())
    bias = whole.key_mask()[1]
    mask = None if bias is None else bias[:, None, None].double()
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).nan_to_num(0.0)
    for backend in ("torch_boxes", "dense", "auto"):
        assert relative_error(compute(whole, backend), expected) <= TOLERANCE[case.dtype]


@given(cases(dtypes=(torch.float32,)))
@settings(max_examples=40)
def test_visited_keys_are_those_of_the_density(case: Case):
    visited = VisitedKeys()
    compute(case, "torch_boxes", stats=visited)
    extents = torch.tensor(case.extents)
    by_definition = [
        int(naive.visible_video(case.grid.shape, case.grid.tile, extent).sum()) for extent in case.extents
    ]
    assert count_visited_keys(case.grid, extents).tolist() == by_definition
    assert visited.seen == case.batch * sum(by_definition)
    assert visited.density == pytest.approx(attention_density(case.grid, extents))


def test_every_query_hidden_from_everything_gets_zeros():
    grid = TokenGrid((2, 4, 4), (1, 2, 2))
    q, k, v = (torch.randn(2, 1, grid.tokens, 64) for _ in range(3))
    keep = torch.zeros(2, grid.tokens, dtype=torch.bool)
    keep[1] = True
    for backend in ("torch_boxes", "dense"):
        out = window_attention(
            q,
            k,
            v,
            VideoSequence(grid, key_mask=keep),
            HeadWindows(torch.tensor([[1, 1, 1]])),
            backend=backend,
        )
        assert (out[0] == 0).all() and out[1].abs().sum() > 0


@pytest.mark.parametrize("backend", ["torch_boxes", "dense"])
def test_a_mask_is_never_written_out_for_every_query(backend, monkeypatch):
    """On a GPU torch pads masks to aligned rows, and would write out each row of an expanded one."""
    grid = TokenGrid((3, 12, 12), (1, 4, 4))
    q, k, v = (torch.randn(1, 2, grid.tokens + 7, 64) for _ in range(3))
    mask = torch.zeros(1, 1, 1, grid.tokens + 7)
    mask[..., -3:] = -torch.inf
    rows = []
    real = F.scaled_dot_product_attention

    def noted(*args, attn_mask=None, **kwargs):
        rows.append(None if attn_mask is None else attn_mask.shape[-2])
        return real(*args, attn_mask=attn_mask, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", noted)
    extents = torch.tensor([[1, 2, 1], [3, 1, 2]])
    with LiveMemory() as memory:
        window_attention(
            q,
            k,
            v,
            VideoSequence(grid, suffix=7, key_mask=mask),
            HeadWindows(extents, tail=True),
            backend=backend,
        )
    assert set(rows) - {None} == {1}
    assert memory.largest < grid.tokens**2


def test_scale_is_obeyed():
    grid = TokenGrid((2, 4, 4), (1, 2, 2))
    q, k, v = (torch.randn(1, 1, grid.tokens, 64) for _ in range(3))
    extents = torch.tensor([[1, 2, 1]])
    out = window_attention(
        q, k, v, VideoSequence(grid, scale=0.5), HeadWindows(extents), backend="torch_boxes"
    )
    expected = naive.attention(q, k, v, naive.Boxes(grid.shape, grid.tile, extents.tolist()), scale=0.5)
    assert relative_error(out, expected) <= 1e-5


def test_calls_that_cannot_be_windowed_say_why():
    grid = TokenGrid((1, 4, 5), (1, 2, 2))
    q = torch.randn(1, 2, 20, 64)
    ones = torch.ones(2, 3, dtype=torch.int32)
    with pytest.raises(WindowsNotApplicable, match="21 tokens"):
        longer = torch.randn(1, 2, 21, 64)
        window_attention(longer, longer, longer, VideoSequence(grid), HeadWindows(ones))
    with pytest.raises(WindowsNotApplicable, match="self-attention"):
        window_attention(
            q, torch.randn(1, 2, 7, 64), torch.randn(1, 2, 7, 64), VideoSequence(grid), HeadWindows(ones)
        )
    with pytest.raises(WindowsNotApplicable, match="3 heads"):
        window_attention(q, q, q, VideoSequence(grid), HeadWindows(torch.ones(3, 3, dtype=torch.int32)))
    with pytest.raises(WindowsNotApplicable, match="larger than the grid"):
        window_attention(q, q, q, VideoSequence(grid), HeadWindows(ones * 4))


def test_a_backend_picked_by_hand_runs_or_says_why_not():
    grid = TokenGrid((1, 4, 4), (1, 2, 2))
    q = torch.randn(1, 1, 16, 64)
    one = torch.ones(1, 3, dtype=torch.int32)
    with pytest.raises(
        BackendRefused, match="choose auto, dense, torch_boxes, installed_boxes, triton_windows"
    ):
        window_attention(q, q, q, VideoSequence(grid), HeadWindows(one), backend="fastest")
    with pytest.raises(BackendRefused, match="'triton_windows' cannot be used: it runs on cuda"):
        window_attention(q, q, q, VideoSequence(grid), HeadWindows(one), backend="triton_windows")
