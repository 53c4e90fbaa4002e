"""The Triton backend computes what the definition says, in Triton's interpreter or compiled on a GPU.

The interpreter needs milliseconds per block and a GPU a second per variant, so the cases are tiny and few.
"""

from __future__ import annotations

from dataclasses import replace

import naive_attention as naive
import pytest
import torch
from hypothesis import given, settings
from kernel_cases import (
    DIFFICULT,
    DTYPES,
    LAUNCHES,
    TOLERANCE,
    Case,
    assert_right,
    cases,
    moved,
    relative_error,
)
from triton_interpreter import (
    DEVICE,
    ON_A_GPU,
    needs_triton,
    only_where_kernels_run,
    pass_in_interpreter,
    starts_interpreter,
)

from s2flow_core.attention.call import AttentionCall
from s2flow_core.attention.extra_keys import ExtraKeys
from s2flow_core.attention.registry import BACKENDS
from s2flow_core.windows.grid import TokenGrid


@starts_interpreter
@needs_triton
def test_in_the_interpreter():
    pass_in_interpreter(__file__)


@only_where_kernels_run
@given(cases())
@settings(max_examples=8 if ON_A_GPU else 24)
def test_kernel_matches_the_definition(case: Case):
    from s2flow_core.attention.backends.triton_windows import run

    assert_right(run, case)


@only_where_kernels_run
@pytest.mark.parametrize("case", DIFFICULT.values(), ids=DIFFICULT)
def test_difficult_cases(case: Case):
    from s2flow_core.attention.backends.triton_windows import run

    assert_right(run, case)


@only_where_kernels_run
@pytest.mark.parametrize(("largest", "dtype"), [(6e4, torch.float16), (1e18, DTYPES[0])])
@pytest.mark.parametrize("mask", ["none", "any"])
@pytest.mark.parametrize("beside", [{}, {"suffix": 3}, {"suffix": 3, "tail": True}], ids=["", "text", "tail"])
def test_enormous_logits_are_weighed_rightly(largest, dtype, mask, beside):
    """A logit of a billion leaves a GPU's fused multiply-add a rounding of hundreds, which 2 is raised to."""
    from s2flow_core.attention.backends.triton_windows import run

    case = replace(DIFFICULT["several blocks of queries and keys per tile"], dtype=dtype, mask=mask, **beside)
    call = case.call()
    q, k, v = (x / x.abs().max() * largest for x in (call.q, call.k, call.v))
    q[:, :, 0], k[:, :, 16:32] = 0.0, 0.0
    call = replace(call, q=q, k=k, v=v)
    out = run(moved(call), replace(LAUNCHES[0], half_sums=True)).cpu()
    # Rows of text are torch's own attention, whose kernels on a GPU may overflow at such numbers.
    out = out[:, :, call.video]
    assert torch.isfinite(out).all()
    assert out.abs().max() <= v.abs().max() * 1.01
    boxes = naive.Boxes(case.grid.shape, case.grid.tile, case.extents, case.tail)
    expected = naive.attention(q, k, v, boxes, 0, call.key_bias)[:, :, call.video]
    errors = (out.double() - expected).norm(dim=-1) / expected.norm(dim=-1).clamp_min(1e-12 * largest)
    # Of two logits that are nearly alike one takes all, and the mean key of a tile is rounded.
    assert (errors > 10 * TOLERANCE[dtype]).double().mean() <= (0.05 if case.tail else 0.02)


@only_where_kernels_run
def test_queries_that_see_no_key_get_zeros():
    from s2flow_core.attention.backends.triton_windows import run

    grid = TokenGrid((1, 4, 8), (1, 4, 4))
    q, k, v = (torch.randn(2, 1, grid.tokens, 64).to(DTYPES[0]) for _ in range(3))
    bias = torch.zeros(2, grid.tokens)
    bias[0] = -torch.inf
    call = AttentionCall(q, k, v, grid, ((1, 1, 1),), 0, 0, bias, 0.125, False)
    out = run(moved(call), LAUNCHES[0])
    assert (out[0] == 0).all() and out[1].abs().sum() > 0


@only_where_kernels_run
def test_addresses_beyond_two_to_the_31_are_right():
    """As with two videos of 460,800 tokens; memory that is never touched is never allocated. A GPU gives all
    of it, 7 GB.

    Of a million heads the last one is computed, with rows far apart.
    """
    from s2flow_core.attention.backends.triton_windows import WindowLaunch, start

    grid = TokenGrid((1, 4, 5), (1, 4, 4))
    heads = 1026
    head_step, row_step = 2**21, 2**26
    rows = torch.empty(heads * head_step + grid.tokens * row_step, dtype=torch.float16, device=DEVICE)
    q, k, v, out = (
        rows.as_strided((1, heads, grid.tokens, 64), (0, head_step, row_step, 1), 64 * place)
        for place in range(4)
    )
    last = slice(heads - 1, heads)
    for x in (q, k, v):
        x[:, last] = torch.randn(x[:, last].shape).half().to(DEVICE)
    windows = torch.tensor([[heads - 1, 1, 1, 1]], dtype=torch.int32, device=DEVICE)
    no_extra = ExtraKeys(None, None, None, 0, 0, None)
    start(WindowLaunch(q, k, v, out, grid, windows, None, no_extra, 0.125), LAUNCHES[0])
    boxes = naive.Boxes(grid.shape, grid.tile, [(1, 1, 1)])
    asked, keys, values = (x[:, last].cpu() for x in (q, k, v))
    expected = naive.attention(asked, keys, values, boxes)
    assert relative_error(out[:, last], expected) <= TOLERANCE[torch.float16]


@needs_triton
def test_heads_with_most_work_start_first():
    from s2flow_core.attention.backends.triton_windows import longest_first

    windows = longest_first(((1, 1, 1), (2, 1, 3), (1, 2, 1)), (0, 1, 2), torch.device("cpu"))
    assert windows.tolist() == [[1, 2, 1, 3], [2, 1, 2, 1], [0, 1, 1, 1]]
    some = longest_first(((1, 1, 1), (2, 1, 3), (1, 2, 1)), (0, 2), torch.device("cpu"))
    assert some.tolist() == [[2, 1, 2, 1], [0, 1, 1, 1]]


@needs_triton
def test_packed_places_tell_which_tiles_lie_in_a_box():
    from s2flow_core.attention.backends.triton_windows import packed_places

    guards = (1 << 9) | (1 << 19) | (1 << 29)
    grid = TokenGrid((7, 5, 511), (1, 1, 1))
    places = packed_places(grid, torch.device("cpu")).view(grid.tiles)
    for first, extent in (((0, 0, 0), (1, 1, 1)), ((2, 1, 500), (5, 3, 11)), ((6, 4, 0), (1, 1, 511))):
        box = sum(side << shift for side, shift in zip(first, (20, 10, 0), strict=True))
        size = sum((side - 1) << shift for side, shift in zip(extent, (20, 10, 0), strict=True))
        inside = (places - box) & (box + size + 2 * guards - places) & guards == guards
        expected = torch.zeros(grid.tiles, dtype=torch.bool)
        t, h, w = (slice(a, a + n) for a, n in zip(first, extent, strict=True))
        expected[t, h, w] = True
        assert torch.equal(inside, expected)


def on_a_gpu(tile=(1, 4, 4), dim=64, dtype=torch.float16, scale=0.125) -> AttentionCall:
    """A call as the backend would see it on a GPU; meta tensors hold no numbers."""
    grid = TokenGrid((1, 8, 8), tile)
    q = torch.empty(1, 1, grid.tokens, dim, dtype=dtype, device="meta")
    return AttentionCall(q, q, q, grid, ((1, 1, 1),), 0, 0, None, scale, False)


@needs_triton
@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (on_a_gpu(tile=(1, 2, 2)), "tiles of at least 16 tokens"),
        (on_a_gpu(tile=(1, 3, 16)), "these are 1x3x16"),
        (on_a_gpu(scale=0.0), "positive and finite softmax scale"),
    ],
)
def test_what_the_kernel_cannot_do_is_refused_in_words(monkeypatch, call, reason):
    from s2flow_core.attention.backends import triton_windows

    monkeypatch.setattr(triton_windows, "architecture_of", lambda device: "sm_90")
    assert triton_windows.refuses(on_a_gpu()) is None
    assert reason in str(triton_windows.refuses(call))
    far = replace(on_a_gpu(), k=torch.empty(1, 1, 1, 1, device="meta").expand(1, 1, 64, 64))
    assert triton_windows.refuses(far) is None
    far = replace(far, v=torch.empty_strided((1, 1, 64, 64), (0, 0, 2**27, 1), device="meta"))
    assert "too far apart" in str(triton_windows.refuses(far))
    monkeypatch.setattr(triton_windows, "architecture_of", lambda device: "sm_75")
    assert "sm_75" in str(triton_windows.refuses(on_a_gpu()))


def test_other_devices_dtypes_and_heads_are_refused_without_importing_triton():
    backend = BACKENDS["triton_windows"]
    assert "runs on cuda" in str(backend.refusal(on_a_gpu()))
