"""A model of which only a part fits the GPU: core casts the rest while it runs, and the hooks do not mind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_hunyuan import HUNYUAN_VARIANTS
from tiny_variant import variant_graph
from tiny_wan_variants import WAN_VARIANTS

CHOSEN = ("wan21_t2v", "wan21_vace", "hunyuan_t2v")


@pytest.fixture(params=[v for v in (*WAN_VARIANTS, *HUNYUAN_VARIANTS) if v.name in CHOSEN], ids=str)
def variant(request):
    return request.param


@pytest.fixture
def partly_loaded(monkeypatch):
    """Core loads what fits into less than a model and offloads the rest, as where the GPU's memory ends."""
    import comfy.model_management

    real = comfy.model_management.LoadedModel.model_load

    def model_load(self: Any, lowvram_model_memory: Any = 0, **given: Any) -> Any:
        room = self.model.model_size() * 0.7 - self.model.loaded_size()
        return real(self, max(room, 0.1), **given)

    monkeypatch.setattr(comfy.model_management.LoadedModel, "model_load", model_load)


def results(graph: Any) -> tuple[torch.Tensor, ...]:
    latent, trajectory = graph.low_res()
    triple = graph.upsample(trajectory, t_i=2)
    windows = graph.windows(trajectory, triple[0], s=0.5)
    windowed = graph.high_res(triple, windows=windows, backend="torch_boxes")
    warm = graph.high_res(triple, trajectory=trajectory, rope="ntk", attention_temperature=True)
    return latent["samples"], trajectory.reach.mass.float(), windowed, warm


def test_offloaded_weights_change_nothing(comfy_modules, variant, tmp_path, request, caplog):
    whole = results(variant_graph(comfy_modules, variant, variant.load(tmp_path)))
    request.getfixturevalue("partly_loaded")
    model = variant.load(tmp_path)
    with caplog.at_level("WARNING"):
        parts = results(variant_graph(comfy_modules, variant, model))
    assert model.model.model_lowvram
    offloaded = [m for m in model.model.modules() if hasattr(m, "prev_comfy_cast_weights")]
    assert len(offloaded) > 5 and 0 < model.loaded_size() < model.model_size()
    assert not [r for r in caplog.records if "S²Flow" in r.getMessage()]
    for part, expected in zip(parts, whole, strict=True):
        assert torch.allclose(part, expected, atol=1e-4)
