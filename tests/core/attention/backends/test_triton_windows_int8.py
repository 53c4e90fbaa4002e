"""Windows in eight bits differ from the definition by their rounding, and by nothing else; never by NaN."""

from __future__ import annotations

from dataclasses import replace

import naive_attention as naive
import pytest
import torch
from hypothesis import given, settings
from kernel_cases import BASE, DIFFICULT, DTYPES, LAUNCHES, Case, assert_right, cases, moved, relative_error
from triton_interpreter import (
    DEVICE,
    ON_A_GPU,
    needs_triton,
    only_where_kernels_run,
    pass_in_interpreter,
    starts_interpreter,
)

from benchmarks.common.live_memory import LiveMemory
from s2flow_core.attention.call import AttentionCall
from s2flow_core.attention.extra_keys import ExtraKeys
from s2flow_core.kernels.launch_table import INT8_LAUNCHES, Launch
from s2flow_core.windows.grid import TokenGrid

MOST_ERROR = 2e-2
"""On random numbers, of the result's norm."""

HALF_SUMS = Launch(32, 32, 4, 1, half_sums=True)
ALIKE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 6e-3}
"""Where all keys are weighed alike, the output's own rounding is left."""


@starts_interpreter
@needs_triton
def test_in_the_interpreter():
    pass_in_interpreter(__file__)


def run(call: AttentionCall, launch: Launch = LAUNCHES[0]):
    from s2flow_core.attention.backends.triton_windows_int8 import run

    return run(moved(call), launch).cpu()


@only_where_kernels_run
@given(cases())
@settings(max_examples=6 if ON_A_GPU else 12)
def test_rounding_is_all_that_differs_from_the_definition(case: Case):
    assert_right(run, case, MOST_ERROR)


@only_where_kernels_run
@pytest.mark.parametrize(
    "case",
    [*DIFFICULT.values(), replace(BASE, dtype=torch.float16, launch=HALF_SUMS, suffix=3)],
    ids=[*DIFFICULT, "values summed in half precision"],
)
def test_difficult_cases_in_eight_bits(case: Case):
    assert_right(run, case, MOST_ERROR)


# Not in bfloat16, in which a tile's mean far from zero is coarser than what eight bits lose.
WITH_TEXT = replace(BASE, suffix=5, tail=True, dim=64, dtype=torch.float16 if ON_A_GPU else torch.float32)


@only_where_kernels_run
@pytest.mark.parametrize("offset", [0.0, 3.0, 40.0])
def test_what_all_keys_share_costs_no_precision(offset: float):
    """The mean of the keys is taken off before they are rounded, and text and tail know of it."""
    call = WITH_TEXT.call()
    call = replace(call, k=(call.k + offset * torch.randn(1, 1, 1, 64)).to(call.k.dtype))
    boxes = naive.Boxes(call.grid.shape, call.grid.tile, call.extents, tail=True)
    expected = naive.attention(call.q, call.k, call.v, boxes)
    assert relative_error(run(call), expected) <= MOST_ERROR


@only_where_kernels_run
@pytest.mark.parametrize("value", [0.0, -2.5, 6e4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_keys_that_are_all_alike_are_weighed_alike(value: float, dtype: torch.dtype):
    call = replace(BASE, dtype=dtype).call()
    call = replace(call, k=torch.full_like(call.k, value))
    boxes = naive.Boxes(call.grid.shape, call.grid.tile, call.extents)
    expected = naive.attention(torch.zeros_like(call.q), call.k, call.v, boxes)
    assert relative_error(run(call), expected) <= ALIKE[dtype]


SMALL = TokenGrid((1, 5, 7), (1, 4, 4))


@only_where_kernels_run
@pytest.mark.parametrize(
    ("largest", "dtype"), [(6e4, torch.float16), (1e-7, torch.float16), (1e18, DTYPES[0])]
)
@pytest.mark.parametrize("factor", [0.125, 1e30], ids=["usual scale", "huge scale"])
@pytest.mark.parametrize("mask", ["none", "any"])
def test_no_size_of_numbers_gives_a_result_that_is_none(largest, dtype, factor, mask):
    # Text and tail keep the model's precision, and its range.
    exact = {"suffix": 3, "tail": True} if factor < 1 else {}
    call = replace(BASE, grid=SMALL, mask=mask, dtype=dtype, **exact).call()
    q, k, v = (x / x.abs().max() * largest for x in (call.q, call.k, call.v))
    q[:, :, 0], k[:, :, 16:32] = 0.0, 0.0
    out = run(replace(call, q=q, k=k, v=v, scale=factor), replace(LAUNCHES[0], half_sums=True))
    # Rows of text are torch's own attention, whose kernels on a GPU may overflow at such numbers.
    out = out[:, :, call.video]
    assert torch.isfinite(out).all()
    assert out.abs().max() <= v.abs().max() * 1.01


@only_where_kernels_run
@pytest.mark.parametrize("broken", ["q", "k"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_no_number_is_not_hidden_by_the_rounding(broken: str, value: float):
    call = BASE.call()
    x = getattr(call, broken).clone()
    x[0, 0, 5, 7] = value
    assert run(replace(call, **{broken: x}))[0, 0].isnan().any()


@only_where_kernels_run
def test_queries_that_see_no_key_get_zeros_in_eight_bits():
    grid = TokenGrid((1, 4, 8), (1, 4, 4))
    q, k, v = (torch.randn(2, 1, grid.tokens, 64).to(DTYPES[0]) for _ in range(3))
    bias = torch.zeros(2, grid.tokens)
    bias[0] = -torch.inf
    out = run(AttentionCall(q, k, v, grid, ((1, 1, 1),), 0, 0, bias, 0.125, False))
    assert (out[0] == 0).all() and out[1].abs().sum() > 0


@only_where_kernels_run
def test_heads_are_rounded_a_few_at_a_time_with_the_same_result(monkeypatch):
    from s2flow_core.attention.backends import triton_windows_int8

    call = replace(BASE, extents=((1, 1, 2), (2, 2, 3), (1, 2, 1)), batch=2).call()
    some = replace(call, some_heads=(0, 2), result=torch.zeros_like(call.q))
    whole = run(call)
    monkeypatch.setattr(triton_windows_int8, "_ALWAYS_BYTES", 0)
    assert triton_windows_int8.heads_at_once(call) == 1
    assert torch.equal(run(call), whole)
    part = run(some)
    assert torch.equal(part[:, [0, 2]], whole[:, [0, 2]]) and (part[:, 1] == 0).all()


@only_where_kernels_run
def test_addresses_beyond_two_to_the_31_are_right_in_eight_bits():
    """As with two videos of 460,800 tokens; memory that is never touched is never allocated. A GPU gives all
    of it, 7 GB."""
    from s2flow_core.attention.backends.triton_windows import WindowLaunch, start
    from s2flow_core.attention.backends.triton_windows_int8 import int8_keys

    grid = TokenGrid((1, 4, 5), (1, 4, 4))
    heads, head_step, row_step = 1026, 2**21, 2**26
    rows = torch.empty(heads * head_step + grid.tokens * row_step, dtype=torch.float16, device=DEVICE)
    q, k, v, out = (
        rows.as_strided((1, heads, grid.tokens, 64), (0, head_step, row_step, 1), 64 * place)
        for place in range(4)
    )
    last = slice(heads - 1, heads)
    for x in (q, k, v):
        x[:, last] = torch.randn(x[:, last].shape).half().to(DEVICE)
    means = torch.zeros(1, heads, 64, device=DEVICE)
    means[:, last] = k[:, last].float().mean(2)
    windows = torch.tensor([[heads - 1, 1, 1, 1]], dtype=torch.int32, device=DEVICE)
    work = WindowLaunch(q, k, v, out, grid, windows, None, ExtraKeys(None, None, None, 0, 0, None), 0.125)
    start(replace(work, int8_keys=int8_keys(work, means, LAUNCHES[0])), LAUNCHES[0])
    boxes = naive.Boxes(grid.shape, grid.tile, [(1, 1, 1)])
    asked, keys, values = (x[:, last].cpu() for x in (q, k, v))
    expected = naive.attention(asked, keys, values, boxes)
    assert relative_error(out[:, last], expected) <= MOST_ERROR


@needs_triton
@pytest.mark.parametrize("dim", [64, 128])
def test_a_call_of_460_800_tokens_needs_little_beside_its_output(monkeypatch, dim: int):
    """Counted on tensors without numbers, in which kernels write nothing."""
    from s2flow_core.attention.backends import triton_windows, triton_windows_int8

    for module, name in ((triton_windows, "window_attention"), (triton_windows_int8, "int8_keys")):
        monkeypatch.setattr(module, f"{name}_programs", lambda programs: lambda *args, **named: None)
    grid = TokenGrid((30, 96, 160))
    shape = (3, 1, grid.tokens, 24, dim)
    q, k, v = torch.empty(shape, dtype=torch.bfloat16, device="meta").transpose(2, 3)
    out = torch.empty_like(q)
    call = AttentionCall(q, k, v, grid, ((8, 6, 10),) * 24, 0, 0, None, 0.1, False, result=out)
    with LiveMemory() as memory:
        triton_windows_int8.run(call, INT8_LAUNCHES["sm_89", dim])
    one_head = grid.tokens * dim
    assert one_head <= memory.peak <= 0.05 * q.numel() * q.element_size()


def on_a_gpu(dim: int = 64) -> AttentionCall:
    """A call as the backend would see it on a GPU; meta tensors hold no numbers."""
    grid = TokenGrid((1, 8, 8), (1, 4, 4))
    q = torch.empty(1, 1, grid.tokens, dim, dtype=torch.float16, device="meta")
    return AttentionCall(q, q, q, grid, ((1, 1, 1),), 0, 0, None, 0.125, False)


@needs_triton
@pytest.mark.parametrize(
    ("architecture", "dim", "words"),
    [("sm_100", 128, "this is sm_100"), ("gfx942", 64, "this is gfx942"), ("sm_89", 96, "this is sm_89")],
)
def test_other_chips_are_refused_in_words(monkeypatch, architecture: str, dim: int, words: str):
    from s2flow_core.attention.backends import triton_windows, triton_windows_int8

    for module in (triton_windows, triton_windows_int8):
        monkeypatch.setattr(module, "architecture_of", lambda device: architecture)
    assert words in str(triton_windows_int8.refuses(on_a_gpu(dim)))
    for module in (triton_windows, triton_windows_int8):
        monkeypatch.setattr(module, "architecture_of", lambda device: "sm_121")
    assert triton_windows_int8.refuses(on_a_gpu()) is None
    assert "positive" in str(triton_windows_int8.refuses(replace(on_a_gpu(), scale=torch.inf)))
