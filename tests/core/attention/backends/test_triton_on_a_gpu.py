"""Every Triton backend on a real GPU as users meet it: the shipped launches, true sizes, its own trial."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from defined_rows import attention_of_rows, boxes_of
from kernel_cases import BASE, DIFFICULT, TOLERANCE, Case, moved, reference, relative_error
from triton_interpreter import DEVICE, ON_A_GPU, only_on_a_gpu

from s2flow_core.attention.call import AttentionCall
from s2flow_core.attention.choice import BackendChooser
from s2flow_core.attention.measured_rates import MeasuredRates
from s2flow_core.attention.registry import BACKENDS
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.attention.sharing.head_sharing import HeadSharing
from s2flow_core.attention.sharing.trial import Trial
from s2flow_core.attention.trust import wrong_numbers
from s2flow_core.attention.window_attention import HeadWindows, window_attention
from s2flow_core.reach.rows import sample_query_rows
from s2flow_core.windows.grid import TokenGrid, Triple, choose_tile

TRITON = [name for name in BACKENDS if name.startswith("triton")]
BF16, FP16 = torch.bfloat16, torch.float16
IN_EIGHT_BITS = 2e-2
ROWS = 64


def large(shape: Triple, dim: int, dtype: torch.dtype, **changes) -> Case:
    """Two heads of a real size, in the tiles that it is given."""
    grid = TokenGrid(shape, choose_tile(shape))
    t, h, w = grid.tiles
    extents = ((max(1, t // 2), max(1, h // 2), max(1, w // 2)), (t, 1, 2))
    return replace(BASE, grid=grid, extents=extents, dim=dim, dtype=dtype, **changes)


LARGE = {
    "115,200 tokens": large((30, 48, 80), 128, BF16),
    "115,200 tokens, heads of 64": large((30, 48, 80), 64, FP16),
    "two prompts, tail": large((30, 48, 80), 64, BF16, batch=2, suffix=256, mask="text", tail=True),
    "partial tiles": large((31, 44, 80), 64, BF16, prefix=226),
    "partial tiles, tail": large((21, 60, 104), 128, FP16, suffix=77, tail=True),
    "hidden keys": large((13, 30, 52), 128, BF16, batch=2, prefix=3, suffix=19, mask="any", tail=True),
}


@pytest.mark.parametrize("case", DIFFICULT.values(), ids=DIFFICULT)
@pytest.mark.parametrize(
    "text", [{}, {"prefix": 2, "suffix": 3, "tail": True, "mask": "any"}], ids=["", "text"]
)
def test_the_reference_of_some_rows_is_the_definition(case: Case, text):
    case = replace(case, **text, batch=2)
    call = case.call()
    rows = torch.arange(0, call.q.shape[2], 3)
    some = attention_of_rows((call.q, call.k, call.v), boxes_of(call), rows, case.prefix, call.key_bias)
    torch.testing.assert_close(some, reference(case)[:, :, rows])


@only_on_a_gpu
@pytest.mark.parametrize("name", TRITON)
@pytest.mark.parametrize("case", LARGE.values(), ids=LARGE)
def test_shipped_launches_are_right_at_real_sizes(name: str, case: Case):
    call, backend = moved(case.call()), BACKENDS[name]
    assert backend.refusal(call) is None
    result = backend.run(call)
    text = torch.tensor(
        [place for run in call.text for place in (run.start, run.stop - 1)], dtype=torch.int64
    )
    rows = torch.cat([text, case.prefix + sample_query_rows(case.grid, ROWS, 0)])
    expected = attention_of_rows((call.q, call.k, call.v), boxes_of(call), rows, case.prefix, call.key_bias)
    assert torch.isfinite(result).all()
    allowed = IN_EIGHT_BITS if backend.eight_bits else TOLERANCE[case.dtype]
    assert relative_error(result[:, :, rows.to(DEVICE)], expected.cpu()) <= allowed


KINDS = {
    "whole tiles": {"grid": TokenGrid((4, 16, 24), (2, 8, 8))},
    "partial tiles, text": {"grid": TokenGrid((3, 20, 21), (1, 16, 8)), "suffix": 5},
    "tail": {"grid": TokenGrid((4, 16, 24), (2, 8, 8)), "tail": True},
    "tail, mask": {"grid": TokenGrid((3, 9, 9), (1, 8, 8)), "tail": True, "mask": "any", "suffix": 4},
}


@only_on_a_gpu
@pytest.mark.parametrize("name", TRITON)
@pytest.mark.parametrize("dim", [64, 128])
@pytest.mark.parametrize("dtype", [BF16, FP16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_of_call_is_trusted(name: str, dim: int, dtype: torch.dtype, kind):
    call = moved(replace(BASE, dim=dim, dtype=dtype, **kind).call())
    assert BACKENDS[name].refusal(call) is None
    assert wrong_numbers(BACKENDS[name], call, MeasuredRates()) is None


def windowed(call: AttentionCall, name: str, sharing: dict[torch.device, HeadSharing]) -> torch.Tensor:
    chooser = BackendChooser(name, sharing=sharing)
    windows = HeadWindows(torch.tensor(call.extents), call.tail)
    sequence = VideoSequence(call.grid, call.prefix, call.suffix)
    return window_attention(call.q, call.k, call.v, sequence, windows, backend=chooser)


def assert_shared_alike(name: str, dtype: torch.dtype) -> None:
    """A device that helps itself computes on streams of its own beside the current one."""
    case = replace(BASE, grid=TokenGrid((4, 32, 32)), extents=((1, 2, 2),) * 7, dtype=dtype, suffix=5)
    call = moved(case.call())
    sharing = HeadSharing(DEVICE, [DEVICE])
    try:
        expected = windowed(call, name, {})
        for _ in range(3):
            shared = windowed(call, name, {DEVICE: sharing})
            if ON_A_GPU:  # torch's kernels cut their sums by the number of heads
                assert relative_error(shared, expected.double().cpu()) <= TOLERANCE[dtype]
            else:
                assert torch.equal(shared, expected)
    finally:
        sharing.close()


def test_half_of_the_heads_on_a_device_of_its_own(monkeypatch):
    monkeypatch.setattr(Trial, "shares", property(lambda trial: trial._shares is not False))
    assert_shared_alike("torch_boxes", BASE.dtype)


@only_on_a_gpu
@pytest.mark.parametrize("name", TRITON)
def test_half_of_the_heads_on_other_streams(monkeypatch, name: str):
    monkeypatch.setattr(Trial, "shares", property(lambda trial: trial._shares is not False))
    assert_shared_alike(name, BF16)
