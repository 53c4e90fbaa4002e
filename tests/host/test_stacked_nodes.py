"""Core's own nodes that artists put between loader and guider, each with recording and with windows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from present_host import lacks
from tiny_wan import LAYERS, STEPS, SeededNoise, wan_graph

CACHE = {"reuse_threshold": 0.4, "start_percent": 0.0, "end_percent": 1.0, "verbose": False}
NODES: dict[str, dict[str, Any]] = {
    "EasyCache": CACHE,
    "LazyCache": CACHE,
    "NAGuidance": {"nag_scale": 5.0, "nag_alpha": 0.5, "nag_tau": 1.5},
    "SkipLayerGuidanceDiT": {
        "double_layers": "0",
        "single_layers": "",
        "scale": 3.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
    },
}

# The patch of Normalized Attention Guidance is run by other networks than Wan's.
WITHOUT_EFFECT = ("NAGuidance",)


@pytest.fixture(scope="module")
def plain(comfy_modules):
    return wan_graph(comfy_modules)


@pytest.fixture(scope="module", params=NODES)
def stacked(request, plain) -> Any:
    """The model behind one of the nodes."""
    node = plain.modules.nodes.NODE_CLASS_MAPPINGS.get(request.param)
    if node is None:
        lacks(f"{request.param} node")
    (model,) = node.execute(plain.guider.model_patcher, **NODES[request.param]).args
    return wan_graph(plain.modules, model=model)


@pytest.fixture(scope="module")
def run(stacked):
    latent, trajectory = stacked.low_res()
    return latent, trajectory, stacked.upsample(trajectory)


def messages(caplog: Any) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    return [
        text for text in found if "leaves attention unchanged" in text or "attention layers in the" in text
    ]


def test_the_small_run_is_cores_euler_and_records_every_layer(plain, stacked, run, request):
    import comfy.samplers

    latent, trajectory, _ = run
    euler = comfy.samplers.sampler_object("euler")
    empty = {"samples": torch.zeros(latent["samples"].shape)}
    noise = SeededNoise(3).generate_noise(empty)
    expected = stacked.guider.sample(
        noise, empty["samples"], euler, stacked.sigmas, disable_pbar=True, seed=3
    )
    assert torch.equal(latent["samples"], expected)
    assert trajectory.reach.mass.shape[:2] == (STEPS, LAYERS)
    if request.node.callspec.params["stacked"] not in WITHOUT_EFFECT:
        assert not torch.equal(latent["samples"], plain.low_res()[0]["samples"])


def test_windows_of_everything_give_what_there_was_without(stacked, run, caplog):
    _, trajectory, triple = run
    whole = stacked.windows(trajectory, triple[0], s=1.0)
    dense = stacked.high_res(triple)
    with caplog.at_level("WARNING"):
        result = stacked.high_res(triple, windows=whole, backend="torch_boxes")
    assert torch.allclose(result, dense, atol=1e-4)
    assert not messages(caplog)


def test_smaller_windows_serve_every_layer_at_the_density_asked(stacked, run, caplog):
    _, trajectory, triple = run
    windows = stacked.windows(trajectory, triple[0], s=0.5)
    with caplog.at_level("INFO"):
        result = stacked.high_res(triple, windows=windows, backend="torch_boxes")
    assert torch.isfinite(result).all()
    assert not messages(caplog)
    (density,) = [r.args[0] for r in caplog.records if "density %.3f achieved" in r.msg]
    assert density == pytest.approx(windows.density, abs=0.02)


def test_an_attention_chosen_for_the_model_runs_below_the_windows(plain, caplog):
    """What Model Attention Backend does in later versions: the windows answer, the rest is its."""
    if not hasattr(plain.guider.model_patcher, "set_model_optimized_attention"):
        lacks("attention of a model's own")
    calls = []

    def chosen(q: Any, k: Any, v: Any, heads: int, *more: Any, **named: Any) -> torch.Tensor:
        from comfy.ldm.modules.attention import optimized_attention

        calls.append(q.shape[1] == k.shape[1])
        return optimized_attention(q, k, v, heads, *more, **named)

    model = plain.guider.model_patcher.clone()
    model.set_model_optimized_attention(chosen)
    graph = wan_graph(plain.modules, model=model)
    latent, trajectory = graph.low_res()
    assert calls.count(True) == calls.count(False) == STEPS * LAYERS
    assert torch.equal(latent["samples"], plain.low_res()[0]["samples"])
    triple = graph.upsample(trajectory)
    windows = graph.windows(trajectory, triple[0], s=0.5)
    calls.clear()
    with caplog.at_level("WARNING"):
        result = graph.high_res(triple, windows=windows, backend="torch_boxes")
    assert calls.count(True) == 0
    assert calls.count(False) == LAYERS * (len(triple[1]) - 1)
    assert torch.equal(result, plain.high_res(triple, windows=windows, backend="torch_boxes"))
    assert not messages(caplog)
