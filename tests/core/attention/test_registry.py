"""Every backend says what it can compute before its code is loaded."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from s2flow_core.attention.call import AttentionCall, InstalledAttention
from s2flow_core.attention.registry import BACKENDS, Backend
from s2flow_core.windows.grid import TokenGrid


def a_call(dtype: torch.dtype = torch.float32, dim: int = 64, tail: bool = False) -> AttentionCall:
    grid = TokenGrid((1, 4, 4), (1, 2, 2))
    q = torch.zeros(1, 1, grid.tokens, dim, dtype=dtype)
    return AttentionCall(q, q, q, grid, ((1, 1, 1),), 0, 0, None, 0.125, tail)


def test_every_backend_that_is_listed_names_its_code():
    names = ["dense", "torch_boxes", "installed_boxes", "triton_windows", "triton_windows_int8"]
    assert list(BACKENDS) == names
    for name, backend in BACKENDS.items():
        assert backend.name == name and backend.module == f".backends.{name}"


@pytest.mark.parametrize("name", ["dense", "torch_boxes"])
@pytest.mark.parametrize("call", [a_call(), a_call(torch.bfloat16, 40, tail=True)])
def test_torch_computes_every_call(name: str, call: AttentionCall):
    assert BACKENDS[name].refusal(call) is None
    assert BACKENDS[name].run(call).shape == call.q.shape


NOWHERE = Backend("limited", ".backends.nowhere")


@pytest.mark.parametrize(
    ("backend", "call", "words"),
    [
        (
            replace(NOWHERE, devices=frozenset({"cuda"})),
            a_call(),
            "it runs on cuda, and this model runs on cpu.",
        ),
        (
            replace(NOWHERE, dtypes=frozenset({torch.float16, torch.bfloat16})),
            a_call(),
            "it computes in torch.bfloat16, torch.float16, and this model uses torch.float32.",
        ),
        (
            replace(NOWHERE, head_dims=frozenset({64, 128})),
            a_call(dim=96),
            "it is built for heads of 128, 64 channels, and this model has 96.",
        ),
        (replace(NOWHERE, tail=False), a_call(tail=True), "it cannot add the tail of skipped tiles."),
        (
            replace(NOWHERE, key_bias=False),
            replace(a_call(), key_bias=torch.zeros(1, 16)),
            "it cannot hide single keys, and this model passes a mask.",
        ),
    ],
)
def test_what_a_backend_cannot_do_is_said_without_loading_it(
    backend: Backend, call: AttentionCall, words: str
):
    assert backend.refusal(call) == words


def test_code_that_cannot_be_loaded_is_a_refusal():
    assert "could not be loaded (No module named" in str(NOWHERE.refusal(a_call()))


def test_a_backend_may_refuse_a_call_that_its_data_allow(monkeypatch):
    from s2flow_core.attention.backends import torch_boxes

    monkeypatch.setattr(torch_boxes, "refuses", lambda call: "it is Sunday.", raising=False)
    assert BACKENDS["torch_boxes"].refusal(a_call()) == "it is Sunday."


@pytest.mark.parametrize(
    ("eight_bits", "installed", "accepted"),
    [
        (False, None, True),
        (True, None, False),
        (True, False, False),
        (True, True, True),
        (False, False, True),
    ],
)
def test_eight_bits_are_accepted_beside_attention_of_eight_bits_alone(eight_bits, installed, accepted):
    beside = None if installed is None else InstalledAttention("other", lambda q, k, v, bias: q, installed)
    call = replace(a_call(), installed=beside)
    assert replace(NOWHERE, eight_bits=eight_bits).accepted(call) is accepted


def test_only_the_int8_kernel_rounds_to_eight_bits():
    assert [name for name, backend in BACKENDS.items() if backend.eight_bits] == ["triton_windows_int8"]
