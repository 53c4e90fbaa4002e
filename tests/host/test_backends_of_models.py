"""Calls that are left alone run as the model asks for: on its backend, with its scale and its keys."""

from __future__ import annotations

import copy
import inspect
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from present_host import lacks
from tiny_wan import LAYERS

DIM = 128  # of a head


@pytest.fixture
def attentions(graph, monkeypatch) -> list[Any]:
    """The attention modules of the network; what a test sets on them goes away with it."""
    blocks = graph.guider.model_patcher.model.diffusion_model.blocks
    return [module for block in blocks for module in (block.self_attn, block.cross_attn)]


class Backend:
    """What a checkpoint may ask for instead of ComfyUI's attention; its results can be told from others."""

    def __init__(self) -> None:
        self.calls = 0

    def function(self, q: Any, k: Any, v: Any, heads: int, *more: Any, **named: Any) -> torch.Tensor:
        from comfy.ldm.modules.attention import attention_pytorch

        self.calls += 1
        return attention_pytorch(q, k, v, heads, *more, **named) * 0.9


def with_override(guider: Any, override: Any) -> Any:
    neighbour = copy.copy(guider)
    neighbour.model_options = {"transformer_options": {"optimized_attention_override": override}}
    return neighbour


def test_what_is_left_alone_runs_on_the_backend_that_the_model_prefers(
    graph, record, attentions, monkeypatch
):
    """Small calls are left to what is installed; cross-attention always is."""
    _, triple, windows = record
    expected_backend = Backend()
    guider = with_override(
        graph.guider, lambda original, *args, **named: expected_backend.function(*args, **named)
    )
    expected = graph.high_res(triple, guider=guider)
    backend = Backend()
    for module in attentions:
        monkeypatch.setattr(module, "comfy_attention", backend, raising=False)
    result = graph.high_res(triple, windows=windows)
    assert backend.calls == expected_backend.calls == 2 * LAYERS * (len(triple[1]) - 1)
    assert torch.equal(result, expected)
    assert not torch.equal(result, graph.high_res(triple))


def test_windows_answer_before_the_preferred_backend(graph, record, attentions, monkeypatch):
    _, triple, windows = record
    backend = Backend()
    for module in attentions:
        monkeypatch.setattr(module, "comfy_attention", backend, raising=False)
    graph.high_res(triple, windows=windows, backend="torch_boxes")
    assert backend.calls == LAYERS * (len(triple[1]) - 1)  # cross-attention


def test_an_override_of_another_pack_comes_before_it(graph, record, attentions, monkeypatch):
    _, triple, windows = record
    theirs, backend = Backend(), Backend()
    for module in attentions:
        monkeypatch.setattr(module, "comfy_attention", backend, raising=False)
    guider = with_override(graph.guider, lambda original, *args, **named: theirs.function(*args, **named))
    graph.high_res(triple, guider=guider, windows=windows)
    assert theirs.calls > 0
    assert backend.calls == 0


@pytest.mark.parametrize("named", [[], [None], ["a", None], ["a", "b"], ["a", "a"]])
def test_only_one_backend_for_all_counts(comfy_modules, named):
    find = comfy_modules.pack("nodes.host.model.preferred_attention").preferred_attention
    functions: dict[Any, Any] = {"a": Backend().function, "b": Backend().function, None: None}
    model = torch.nn.Sequential(*(torch.nn.Identity() for _ in range(3)))
    for module, name in zip(model, named, strict=False):
        setattr(module, "comfy_attention", SimpleNamespace(function=functions[name]))  # noqa: B010
    assert find(model) == (functions["a"] if named == ["a", "a"] else None)


def changed_self_attention(monkeypatch, change: Any) -> None:
    """Every self-attention of Wan is called with change(q, k, v) and with what it names besides."""
    import comfy.ldm.wan.model as wan

    real = wan.optimized_attention

    def attention(q: Any, k: Any, v: Any, *args: Any, **named: Any) -> torch.Tensor:
        if q.shape[1] != k.shape[1]:
            return real(q, k, v, *args, **named)
        (q, k, v), more = change(q, k, v)
        return real(q, k, v, *args, **named | more)

    monkeypatch.setattr(wan, "optimized_attention", attention)


def require_core(name: str) -> None:
    import comfy.ldm.modules.attention as attention

    if name not in inspect.getsource(attention.attention_pytorch):
        lacks(f"attention that takes {name}")


@pytest.mark.parametrize("given", ["scale", "enable_gqa"])
def test_other_logits_and_shared_keys_stay_dense_and_are_named(graph, record, monkeypatch, caplog, given):
    require_core(given)
    _, triple, windows = record

    def change(q: Any, k: Any, v: Any) -> Any:
        if given == "scale":
            return (q, k, v), {"scale": 0.5 * DIM**-0.5}
        return (q, k[..., :DIM], v[..., :DIM]), {"enable_gqa": True}

    changed_self_attention(monkeypatch, change)
    dense = graph.high_res(triple)
    with caplog.at_level("WARNING"):
        result = graph.high_res(triple, windows=windows, backend="torch_boxes")
    assert torch.equal(result, dense)
    words = {"scale": "scales its logits by", "enable_gqa": "share their keys (enable_gqa)"}[given]
    told = [r.getMessage() for r in caplog.records if "leaves attention unchanged" in r.getMessage()]
    assert len(told) == 1 and words in told[0]


def test_the_usual_scale_may_be_named(graph, record, monkeypatch, caplog):
    require_core("scale")
    _, triple, windows = record
    expected = graph.high_res(triple, windows=windows, backend="torch_boxes")
    changed_self_attention(monkeypatch, lambda *qkv: (qkv, {"scale": DIM**-0.5}))
    with caplog.at_level("WARNING"):
        result = graph.high_res(triple, windows=windows, backend="torch_boxes")
    assert torch.equal(result, expected)
    assert not [r for r in caplog.records if "S²Flow" in r.getMessage()]
