"""Distilled LoRAs: 4 to 8 steps without guidance, of which the last 2 to 4 run at the large size."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from both_runs import assert_close, video_of
from tiny_h3 import H3_VARIANTS
from tiny_hunyuan import HUNYUAN_VARIANTS
from tiny_lora import lora_file
from tiny_ltx import LTX_VARIANTS
from tiny_ltx2 import LTX2_VARIANTS
from tiny_variant import variant_graph
from tiny_wan import SeededNoise
from tiny_wan_variants import WAN_VARIANTS

EVERY = (*WAN_VARIANTS, *HUNYUAN_VARIANTS, *LTX_VARIANTS, *LTX2_VARIANTS, *H3_VARIANTS)
BY_NAME = {variant.name: variant for variant in EVERY}
NAMES = ("wan21_t2v", "wan22_5b", "hunyuan15", "ltx_video", "ltx2_text", "h3_text")
RUNS = ((4, 2), (6, 3), (8, 4))  # steps, and how many of them at the large size


@pytest.fixture(autouse=True)
def inference():
    """As ComfyUI runs a prompt."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module", params=NAMES)
def models(request, comfy_modules, tmp_path_factory) -> tuple[Any, Any, Any]:
    """(variant, model, model behind core's LoraLoaderModelOnly)"""
    import folder_paths

    variant = replace(BY_NAME[request.param], guidance=1.0)
    variant.require_host()
    folder = tmp_path_factory.mktemp("files")
    model = variant.load(folder)
    file = lora_file(model, folder / "distilled.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_paths, "get_full_path_or_raise", lambda kind, name: file)
        loader = comfy_modules.node("LoraLoaderModelOnly")()
        (patched,) = loader.load_lora_model_only(model, "distilled.safetensors", 1.0)
    return variant, model, patched


def graph_of(modules: Any, variant: Any, model: Any, steps: int) -> Any:
    schedule = modules.pack("demo.generate").schedule(model, steps)
    return replace(variant_graph(modules, variant, model), sigmas=schedule)


def cores_euler(graph: Any) -> torch.Tensor:
    import comfy.samplers

    start = graph.variant.latent(graph.variant.channels, graph.variant.size)
    euler = comfy.samplers.sampler_object("euler")
    noise = SeededNoise(3).generate_noise(start)
    return video_of(
        graph.guider.sample(noise, start["samples"], euler, graph.sigmas, disable_pbar=True, seed=3)
    )


@pytest.mark.parametrize(("steps", "t_i"), RUNS)
def test_the_whole_chain(comfy_modules, models, no_fall_back, monkeypatch, steps, t_i):
    variant, model, patched = models
    graph = graph_of(comfy_modules, variant, patched, steps)
    latent, trajectory = graph.low_res()
    assert torch.equal(video_of(latent["samples"]), cores_euler(graph))
    without = cores_euler(graph_of(comfy_modules, variant, model, steps))
    assert not torch.allclose(video_of(latent["samples"]), without, atol=1e-2)

    triple = graph.upsample(trajectory, t_i=t_i)
    assert len(triple[1]) - 1 == t_i
    served = calls_served(comfy_modules, monkeypatch)
    inputs = {"order": 3, "trajectory": trajectory, "backend": "torch_boxes"}
    dense = video_of(graph.high_res(triple, **inputs))
    whole = graph.windows(trajectory, triple[0], s=1.0, policy="error")
    assert_close(video_of(graph.high_res(triple, windows=whole, **inputs)), dense, 1e-4)
    served.clear()
    windows = graph.windows(trajectory, triple[0], s=0.5, policy="error")
    windowed = video_of(graph.high_res(triple, windows=windows, **inputs))
    assert served == dict.fromkeys(range(variant.layers), t_i)
    assert torch.isfinite(windowed).all()
    assert not torch.allclose(windowed, dense, atol=1e-3)


def calls_served(modules: Any, patch: pytest.MonkeyPatch) -> Counter:
    """Filled with the layers of all calls that windows answer."""
    hook = modules.pack("nodes.host.attention.windows").WindowedAttention
    attend, served = hook.attend, Counter()

    def counted(self: Any, call: Any) -> Any:
        out = attend(self, call)
        served[call.layer] += out is not None
        return out

    patch.setattr(hook, "attend", counted)
    return served
