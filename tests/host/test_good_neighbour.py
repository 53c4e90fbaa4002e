"""The hooks leave no trace and live with those of other packs."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_wan import wan_graph


@pytest.fixture(scope="module")
def graph(comfy_modules):
    return wan_graph(comfy_modules)


@pytest.fixture(scope="module")
def record(graph):
    _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory)
    return trajectory, triple, graph.windows(trajectory, triple[0], s=0.5)


def test_nothing_is_left_after_a_run(graph, record):
    before = copy.deepcopy(graph.guider.model_options)
    attributes = set(vars(graph.guider))
    graph.low_res()
    graph.high_res(record[1], windows=record[2])
    assert graph.guider.model_options == before
    assert set(vars(graph.guider)) == attributes


def test_nothing_is_left_after_an_error(graph, record, monkeypatch):
    before = copy.deepcopy(graph.guider.model_options)
    module = graph.modules.pack("nodes.host.window_attention_hook")

    def broken(*_, **__):
        raise RuntimeError("cancelled in the middle")

    monkeypatch.setattr(module, "window_attention", broken)
    with pytest.raises(RuntimeError, match="cancelled in the middle"):
        graph.high_res(record[1], windows=record[2])
    assert graph.guider.model_options == before
    monkeypatch.undo()
    assert torch.isfinite(graph.high_res(record[1])).all()


def override_of_another_pack(calls):
    def override(original, *args, **kwargs):
        calls.append(args[0].shape)
        return original(*args, **kwargs)

    return override


def test_an_override_installed_before_ours_still_runs(graph, record):
    calls = []
    neighbour = copy.copy(graph.guider)
    neighbour.model_options = {
        "transformer_options": {"optimized_attention_override": override_of_another_pack(calls)}
    }
    with_both = graph.high_res(record[1], guider=neighbour, windows=record[2])
    assert calls  # every cross-attention reaches the pack below us
    assert torch.equal(with_both, graph.high_res(record[1], windows=record[2]))

    calls.clear()
    latent, _ = graph.low_res(guider=neighbour)
    assert calls
    assert torch.equal(latent["samples"], graph.low_res()[0]["samples"])


def test_an_unknown_model_is_refused_by_name(graph, record, monkeypatch):
    facts = graph.modules.pack("nodes.host.model_facts")
    monkeypatch.setattr(facts, "family_of", lambda model: None)
    with pytest.raises(ValueError, match=r"does not know where WanModel keeps its video tokens"):
        graph.high_res(record[1], windows=record[2])


def test_a_mask_that_windows_cannot_obey_falls_back_and_says_so_once(graph, record, caplog):
    hook_module = graph.modules.pack("nodes.host.window_attention_hook")
    layout = graph.modules.pack("nodes.host.token_layout")
    hook = hook_module.WindowedAttention(layout.FAMILIES[0], None, record[2])
    hook_call = graph.modules.pack("nodes.host.attention_hook").SelfAttentionCall
    q = torch.randn(1, 2, 192, 64)
    mask = torch.zeros(192, 192).tril()
    call = hook_call(
        q, q, q, mask, 0, layout.TokenLayout(0, (3, 8, 8)), float(record[2].sigmas[0]), slice(0, 1)
    )
    with caplog.at_level("WARNING"):
        assert hook.attend(call) is None
        assert hook.attend(call) is None
    assert len([r for r in caplog.records if "leaves attention unchanged" in r.message]) == 1
