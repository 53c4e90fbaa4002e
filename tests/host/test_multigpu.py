"""Core's MultiGPU CFG Split: every device has a model of its own, run by a thread of its own.

Two "devices" of the CPU stand in for two GPUs.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from present_host import lacks
from safetensors.torch import save_file
from tiny_wan import random_wan_weights, wan_graph


@pytest.fixture(autouse=True)
def inference():
    """As ComfyUI runs a prompt; the threads of the devices do not inherit it."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def graphs(comfy_modules, tmp_path_factory) -> tuple[Any, Any]:
    """The same model on one device and on two."""
    weights = random_wan_weights(comfy_modules.pack)
    return on_one_and_two(comfy_modules, weights, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def low_noise(comfy_modules, tmp_path_factory) -> tuple[Any, Any]:
    """A second expert on one device and on two."""
    weights = random_wan_weights(comfy_modules.pack)
    other = {name: value.flip(0) if "ffn" in name else value for name, value in weights.items()}
    return on_one_and_two(comfy_modules, other, tmp_path_factory.mktemp("low_noise"))


def on_one_and_two(modules: Any, weights: dict[str, torch.Tensor], folder: Any) -> tuple[Any, Any]:
    """Graphs on one device and on two; a clone for a device is loaded from the file once more."""
    import comfy.sd

    if importlib.util.find_spec("comfy.multigpu") is None:
        lacks("MultiGPU CFG Split")
    file = folder / "wan.safetensors"
    save_file(weights, file)
    model = modules.pack("demo.generate").with_shift(comfy.sd.load_diffusion_model(str(file)), 3.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("comfy.model_management.get_all_torch_devices", two_devices)
        split = modules.node("MultiGPU_WorkUnits").execute(model, 2).args[0]
    return wan_graph(modules, model=model), wan_graph(modules, model=split)


def two_devices(exclude_current: bool = False) -> list[torch.device]:
    return [torch.device("cpu"), torch.device("cpu", 1)]


@pytest.fixture(scope="module")
def record(graphs) -> tuple[Any, Any, Any]:
    one, _ = graphs
    _, trajectory = one.low_res()
    triple = one.upsample(trajectory)
    return trajectory, triple, one.windows(trajectory, triple[0], s=0.5)


def relative_difference(result: torch.Tensor, expected: torch.Tensor) -> float:
    return float((result - expected).norm() / expected.norm())


def models_that_ran(graphs: Any, patch: pytest.MonkeyPatch) -> set[int]:
    """Filled with the ids of the networks whose passes our hook sees."""
    seen = set()
    hook = graphs[0].modules.pack("nodes.host.attention.hook").SelfAttentionHook
    describe = hook.describe_forward

    def noting(self: Any, model: Any, *rest: Any) -> Any:
        seen.add(id(model))
        return describe(self, model, *rest)

    patch.setattr(hook, "describe_forward", noting)
    return seen


def test_the_record_is_that_of_one_device(graphs, record, monkeypatch):
    seen = models_that_ran(graphs, monkeypatch)
    _, trajectory = graphs[1].low_res()
    assert len(seen) == 2, "core did not split the conditions"
    expected = record[0]
    assert relative_difference(trajectory.denoised, expected.denoised) < 1e-4
    assert relative_difference(trajectory.reach.mass.float(), expected.reach.mass.float()) < 1e-3


@pytest.mark.parametrize("rope", ["none", "position", "ntk"])
@pytest.mark.parametrize("with_windows", [True, False], ids=["windows", "dense"])
def test_the_video_is_that_of_one_device(graphs, record, monkeypatch, caplog, rope, with_windows):
    trajectory, triple, windows = record
    inputs = {"trajectory": trajectory, "rope": rope, "backend": "torch_boxes"}
    if with_windows:
        inputs["windows"] = windows
    one, two = graphs
    expected = one.high_res(triple, **inputs)
    seen = models_that_ran(graphs, monkeypatch)
    caplog.clear()
    with caplog.at_level("INFO"):
        result = two.high_res(triple, **inputs)
    assert len(seen) == 2, "every device's passes are seen, if only for their feed-forward layers"
    assert relative_difference(result, expected) < 1e-4
    messages = [r.getMessage() for r in caplog.records if "S²Flow" in r.getMessage()]
    assert not [message for message in messages if "unchanged" in message or "reached" in message]


def test_both_devices_are_counted(graphs, record, caplog):
    _, triple, windows = record
    densities = []
    for graph in graphs:
        caplog.clear()
        with caplog.at_level("INFO"):
            graph.high_res(triple, windows=windows, backend="torch_boxes")
        densities += [r.getMessage() for r in caplog.records if "density" in r.getMessage()]
    assert len(densities) == 2
    assert densities[0] == densities[1]


def test_the_network_of_each_device_keeps_its_positions(graphs, record):
    trajectory, triple, _ = record
    patcher = graphs[1].guider.model_patcher
    clones = patcher.get_additional_models_with_key("multigpu")
    networks = [p.model.diffusion_model for p in (patcher, *clones)]
    assert len(networks) == 2
    before = [network.rope_embedder for network in networks]
    graphs[1].high_res(triple, trajectory=trajectory, rope="position")
    assert [network.rope_embedder for network in networks] == before


def test_two_experts_on_two_devices_are_those_of_one(graphs, low_noise, monkeypatch):
    """Each expert has a network on each device: the record, and the video with windows and positions."""
    results = []
    for high, low in zip(graphs, low_noise, strict=True):
        experts = {"guider_low_noise": low.guider, "boundary": 0.7}
        seen = models_that_ran(graphs, monkeypatch)
        _, trajectory = high.low_res(**experts)
        triple = high.upsample(trajectory, t_i=5)
        windows = high.windows(trajectory, triple[0], s=0.5)
        settings = {"rope": "position", "backend": "torch_boxes", "order": 3, "derivative": "blend"}
        video = high.high_res(triple, trajectory=trajectory, windows=windows, **settings, **experts)
        results.append((trajectory, video, len(seen)))
    (one, expected, networks), (two, video, twice) = results
    assert (networks, twice) == (2, 4)
    assert two.boundaries == one.boundaries and one.boundaries != ()
    assert relative_difference(two.reach.mass.float(), one.reach.mass.float()) < 1e-3
    assert relative_difference(video, expected) < 1e-4
