"""Calls that windows cannot win go to the attention that was there before, ComfyUI's or another pack's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_hunyuan import HUNYUAN_VARIANTS
from tiny_variant import variant_graph
from tiny_wan import LAYERS
from unusual_guiders import below_ours

TOKENS = 3 * 8 * 8


@pytest.fixture(scope="module")
def record(graph):
    _, trajectory = graph.low_res()
    return trajectory, graph.upsample(trajectory)


class Kernel:
    """Stands for Sage or Flash attention of another node; its results differ so that they can be told."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []  # (query tokens, key tokens)

    def __call__(self, original: Any, q: Any, k: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.calls.append((q.shape[-2], k.shape[-2]))
        return original(q, k, *args, **kwargs) * 0.9

    @property
    def own_video(self) -> int:
        return self.calls.count((TOKENS, TOKENS))


def self_attentions(graph: Any, triple: Any) -> int:
    """Both conditions run together."""
    return LAYERS * (len(triple[1]) - 1)


@pytest.mark.parametrize("s", [0.5, 1.0])
def test_auto_leaves_small_calls_to_the_override_below(graph, record, s):
    trajectory, triple = record
    kernel = Kernel()
    guider = below_ours(graph.guider, kernel)
    windows = graph.windows(trajectory, triple[0], s=s)
    result = graph.high_res(triple, guider=guider, windows=windows)
    assert kernel.own_video == self_attentions(graph, triple)
    assert torch.equal(result, graph.high_res(triple, guider=guider))


def test_auto_measures_the_override_below_as_its_rival(graph, record, monkeypatch):
    """With the count of operations out of the way, windows must be faster than what is installed."""
    trajectory, triple = record
    choice = graph.modules.pack("s2flow_core.attention.choice")
    windows_hook = graph.modules.pack("nodes.host.attention.windows")
    monkeypatch.setattr(choice, "_SMALL_CPU_FLOPS", 0.0)
    windows = graph.windows(trajectory, triple[0], s=0.5)
    for theirs, ours in ((1e15, 1e13), (1e9, 1e14)):
        kernel, measured = Kernel(), []

        def rate(computes: Any, call: Any, given: Any = (theirs, ours), names: Any = measured) -> float:
            names.append(computes.name)
            assert computes.run(call).shape == call.q.shape
            return given[0] if computes.name.endswith("Kernel") else given[1]

        monkeypatch.setattr(choice, "rate", rate)
        rates = choice.MeasuredRates()
        monkeypatch.setattr(windows_hook, "measured_rates", lambda rates=rates: rates)
        result = graph.high_res(triple, guider=below_ours(graph.guider, kernel), windows=windows)
        assert {name.rpartition(".")[2] for name in measured} == {"Kernel", "torch_boxes"}
        timed = measured.count("test_installed_attention.Kernel")
        without = graph.high_res(triple, guider=below_ours(graph.guider, Kernel()))
        assert torch.isfinite(result).all()
        assert torch.equal(result, without) == (theirs > ours)
        if theirs > ours:
            assert kernel.own_video == self_attentions(graph, triple) + timed


def test_the_rival_sees_the_call_as_the_model_makes_it(comfy_modules, tmp_path, monkeypatch):
    """HunyuanVideo's heads come first and its text is masked: timed alone or in the model, one result."""
    variant = next(v for v in HUNYUAN_VARIANTS if v.name == "hunyuan_t2v_masked")
    graph = variant_graph(comfy_modules, variant, variant.load(tmp_path))
    _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory)
    hooks = comfy_modules.pack("nodes.host.attention.windows")
    key_bias = comfy_modules.pack("s2flow_core.attention.key_mask").key_bias
    seen = []

    def attend(self: Any, call: Any) -> None:
        bias = key_bias(call.mask, call.q.shape[0], call.q.shape[2])
        assert bias is not None
        alone = call.installed.attend(call.q, call.k, call.v, bias)
        one_head = call.installed.attend(call.q[:, :1], call.k[:, :1], call.v[:, :1], bias)
        expected = torch.nn.functional.scaled_dot_product_attention(
            call.q, call.k, call.v, bias[:, None, None]
        )
        assert torch.allclose(alone, expected, atol=1e-5)
        assert torch.allclose(one_head, expected[:, :1], atol=1e-5)
        seen.append(call.layer)

    monkeypatch.setattr(hooks.WindowedAttention, "attend", attend)
    graph.high_res(triple, windows=graph.windows(trajectory, triple[0], s=0.5))
    assert set(seen) == set(range(variant.layers))


def test_temperature_reaches_the_calls_that_are_left_below(graph, record):
    trajectory, triple = record
    whole = graph.windows(trajectory, triple[0], s=1.0)
    given = {"trajectory": trajectory, "attention_temperature": True}
    kernel = Kernel()
    guider = below_ours(graph.guider, kernel)
    warm = graph.high_res(triple, guider=guider, windows=whole, **given)
    assert kernel.own_video == self_attentions(graph, triple)
    assert torch.equal(warm, graph.high_res(triple, guider=guider, **given))
    assert not torch.allclose(warm, graph.high_res(triple, guider=guider), atol=1e-3)


def test_dense_by_hand_is_torchs_own_attention(graph, record):
    trajectory, triple = record
    kernel = Kernel()
    windows = graph.windows(trajectory, triple[0], s=0.5)
    result = graph.high_res(triple, guider=below_ours(graph.guider, kernel), windows=windows, backend="dense")
    assert kernel.own_video == 0 < len(kernel.calls)
    assert torch.isfinite(result).all()


def test_attention_left_below_counts_as_dense(graph, record, caplog):
    trajectory, triple = record
    with caplog.at_level("INFO"):
        graph.high_res(triple, windows=graph.windows(trajectory, triple[0], s=1.0))
    assert "attention density 1.000 achieved" in caplog.text
    assert "in the first step" not in caplog.text


@pytest.mark.parametrize(
    ("module", "name", "eight_bits"),
    [
        ("comfy.ldm.modules.attention", "attention_sage", True),
        ("comfy.ldm.modules.attention", "attention_comfy_kitchen_int8", True),
        ("custom_nodes.kjnodes", "Patch.<locals>.attention_override_sage", True),
        ("sageattention.core", "sageattn", True),
        ("custom_nodes.some_pack", "attention_int8", True),
        ("custom_nodes.ComfyUI-INT8-Fast.nodes", "wrap_attn", False),
        ("custom_nodes.comfyui_fp8_loader", "attn", False),
        ("comfy_kitchen", "sol_attn", True),
        ("comfy.ldm.modules.attention", "attention_pytorch", False),
        ("comfy.ldm.modules.attention", "attention_flash", False),
        ("custom_nodes.message_passage", "override", False),
    ],
)
def test_attention_of_eight_bits_goes_by_its_name(graph, module, name, eight_bits):
    """Unless the call asks for more precision: Sage then leaves it to torch."""
    call = graph.modules.pack("nodes.host.attention.call")

    def installed(*args: Any, **kwargs: Any) -> None: ...

    installed.__module__, installed.__qualname__ = module, name
    q = torch.zeros(1, 4, 8)
    for below, precise in ((None, False), (installed, False), (installed, True)):
        named = {"low_precision_attention": False} if precise else {}
        made = call.HostCall.of(installed, below, (q, q, q), 2, (), named).installed()
        assert made.eight_bits is (eight_bits and not precise)
