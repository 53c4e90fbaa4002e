"""Core's dynamic VRAM: weights stay where they were loaded, and are cast as each layer runs.

What pages them in and patches them needs a GPU. Here core's own ModelPatcher for it runs on the CPU.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from present_host import knows, lacks
from safetensors.torch import save_file
from tiny_wan import LAYERS, random_wan_weights, wan_graph


class NoPinnedMemory:
    """Stands in for the buffer of a library that needs a GPU; on the CPU nothing is put into it."""

    size = 0

    def __init__(self, *sizes: int):
        pass


@pytest.fixture(scope="module")
def file(comfy_modules, tmp_path_factory) -> str:
    if not knows("comfy.model_patcher", "ModelPatcherDynamic"):
        lacks("dynamic VRAM")
    path = tmp_path_factory.mktemp("model") / "wan.safetensors"
    save_file(random_wan_weights(comfy_modules.pack), path)
    return str(path)


@pytest.fixture
def dynamic(monkeypatch) -> None:
    """What starting ComfyUI with dynamic VRAM chooses, on a CPU that passes for a GPU with all the memory."""
    import comfy.model_patcher

    monkeypatch.setattr(comfy.model_patcher.comfy_aimdo.host_buffer, "HostBuffer", NoPinnedMemory)
    monkeypatch.setattr("comfy.model_management.is_device_cpu", lambda device: False)
    monkeypatch.setattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcherDynamic)


@pytest.fixture
def off_and_on(comfy_modules, file, dynamic) -> tuple[Any, Any]:
    """The model as core loads it with dynamic VRAM off, and on."""
    import comfy.model_patcher
    import comfy.sd

    off, on = (comfy.sd.load_diffusion_model(file, disable_dynamic=disabled) for disabled in (True, False))
    assert not off.is_dynamic()
    assert type(on) is comfy.model_patcher.ModelPatcherDynamic
    with_shift = comfy_modules.pack("demo.generate").with_shift
    return with_shift(off, 3.0), with_shift(on, 3.0)


def everything(modules: Any, model: Any) -> tuple[Any, torch.Tensor]:
    """(trajectory, HR video) of a whole run, with windows and positions in their place."""
    graph = wan_graph(modules, model=model)
    _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory)
    windows = graph.windows(trajectory, triple[0], s=0.5)
    settings = {"order": 3, "rope": "position", "backend": "torch_boxes"}
    return trajectory, graph.high_res(triple, trajectory=trajectory, windows=windows, **settings)


def assert_same(one: tuple[Any, torch.Tensor], other: tuple[Any, torch.Tensor]) -> None:
    assert torch.allclose(one[0].denoised.float(), other[0].denoised.float(), atol=1e-3)
    assert torch.allclose(one[0].reach.mass.float(), other[0].reach.mass.float(), atol=1e-3)
    assert torch.allclose(one[1], other[1], atol=1e-4)


def no_complaint(caplog: Any) -> bool:
    told = [record.getMessage() for record in caplog.records]
    return not [text for text in told if "unchanged" in text or "attention layers in the" in text]


def test_a_run_is_the_same_off_and_on(comfy_modules, off_and_on, caplog):
    off, on = off_and_on
    with caplog.at_level("INFO"):
        results = [everything(comfy_modules, model) for model in (off, on)]
    assert_same(*results)
    assert no_complaint(caplog)
    blocks = on.model.diffusion_model.blocks
    assert len(blocks) == LAYERS and all(block.self_attn.q.comfy_cast_weights for block in blocks)


def test_torch_compile_takes_a_model_with_it_off(comfy_modules, off_and_on):
    """Core's node then loads the file once more, without dynamic VRAM."""
    off, on = off_and_on
    node = comfy_modules.node("TorchCompileModel")
    compiled = node.execute(on, backend=lambda module, inputs: module.forward).args[0]
    assert not compiled.is_dynamic()
    assert_same(everything(comfy_modules, compiled), everything(comfy_modules, off))
