"""Shared heads are those of one device, to the bit, in every layout of a call."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sharing_cases import GRID, Call, sharing_of

from s2flow_core.attention.call import InstalledAttention, VisitedKeys, attend
from s2flow_core.attention.shared_dense import shared_dense_attention
from s2flow_core.attention.sharing import helper
from s2flow_core.attention.temporal_windows import TemporalWindow, shifted_window_attention

pytestmark = pytest.mark.usefixtures("always_shared")

LAYOUTS = {
    "video alone": {},
    "prefix": {"prefix": 3},
    "suffix": {"suffix": 5},
    "mask": {"mask": True, "suffix": 5},
    "tail": {"tail": True},
    "all": {"prefix": 3, "suffix": 5, "mask": True, "tail": True},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("heads", [1, 2, 7, 40])
@pytest.mark.parametrize("devices", [1, 2, 3, 4])
def test_windows_are_those_of_one_device(devices, heads, dtype):
    with sharing_of(devices) as sharing:
        for name, layout in LAYOUTS.items():
            call = Call(heads, dtype, **layout)
            for backend in ("torch_boxes", "auto", "dense") if name == "all" else ("torch_boxes",):
                alone, shared = VisitedKeys(), VisitedKeys()
                expected = call.compute(backend, stats=alone)
                assert torch.equal(call.compute(backend, sharing, shared), expected), (name, backend)
                assert shared == alone, (name, backend)


@pytest.mark.parametrize("devices", [2, 4])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_temporal_windows_are_those_of_one_device(devices, layout):
    call = Call(7, **layout)
    for window in (TemporalWindow(2), TemporalWindow(2, shifted=True)):
        expected = shifted_window_attention(*call.qkv(), call.sequence(), window)
        with sharing_of(devices) as sharing:
            given = shifted_window_attention(*call.qkv(), call.sequence(), window, sharing=sharing)
        assert torch.equal(given, expected)


def installed(q, k, v, bias):
    """As ComfyUI's."""
    return attend(q, k, v, None if bias is None else bias[:, None], q.shape[-1] ** -0.5)


@pytest.mark.parametrize("devices", [2, 3])
@pytest.mark.parametrize("mask", [False, True])
def test_the_installed_attention_is_that_of_one_device(devices, mask):
    call = Call(7, suffix=5, mask=mask)
    sequence = call.sequence()
    with sharing_of(devices) as sharing:
        given = shared_dense_attention(call.qkv(), sequence, InstalledAttention("x", installed), sharing)
    assert given is not None
    assert torch.equal(given, installed(*call.qkv(), sequence.bias(2)))


def test_heads_really_are_computed_elsewhere(monkeypatch):
    """Of 7 heads on 3 devices no device takes more than three, in pieces of one."""
    seen = []
    compute = helper.Helper._compute

    def noting(self, share):
        seen.append((str(self.device), len(share.heads)))
        return compute(self, share)

    monkeypatch.setattr(helper.Helper, "_compute", noting)
    with sharing_of(3) as sharing:
        replace(Call(7), grid=GRID).compute("dense", sharing)
    assert sorted(seen) == [("cpu:1", 2), ("cpu:2", 2)]


@pytest.mark.parametrize(("heads", "sizes"), [(1, [1]), (3, [1, 1, 1]), (10, [2, 3, 2, 3]), (0, [])])
def test_pieces(heads, sizes):
    cut = list(helper.pieces(range(heads)))
    assert [len(some) for some in cut] == sizes
    assert [head for some in cut for head in some] == list(range(heads))


def test_helpers_take_over_inference_and_grad_mode(monkeypatch):
    seen = []
    compute = helper.Helper._compute

    def noting(self, share):
        seen.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled()))
        return compute(self, share)

    monkeypatch.setattr(helper.Helper, "_compute", noting)
    with sharing_of(2) as sharing:
        with torch.inference_mode():
            Call(2).compute("dense", sharing)
        with torch.no_grad():
            Call(2).compute("dense", sharing)
    assert seen == [(True, False), (False, False)]
