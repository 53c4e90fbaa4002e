"""Runs of picture and sound go on where they were stopped, both streams to the bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from stopped_model import Stopper
from tiny_h3 import H3_VARIANTS
from tiny_ltx2 import LTX2_VARIANTS
from tiny_variant import variant_graph

VARIANTS = {variant.name: variant for variant in (*H3_VARIANTS, *LTX2_VARIANTS)}


@pytest.fixture(autouse=True)
def inference():
    """As ComfyUI runs a prompt."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module", params=["h3_text", "ltx2_text"])
def graph(request, comfy_modules, tmp_path_factory):
    variant = VARIANTS[request.param]
    variant.require_host()
    return variant_graph(comfy_modules, variant, variant.load(tmp_path_factory.mktemp("checkpoint")))


@pytest.fixture
def folder(comfy_modules, monkeypatch, tmp_path):
    import folder_paths

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    return tmp_path / "s2flow_unfinished"


def equal(one: Any, other: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.unbind(), other.unbind(), strict=True))


def test_the_small_run_goes_on(graph, folder):
    latent, trajectory = graph.low_res()
    with Stopper(graph) as model:
        model.stop(2 * graph.variant.passes, graph.low_res, resume_every=1)
        assert folder.exists()
        again, record = model.run(graph.low_res, resume_every=1)
        assert model.calls == (trajectory.steps - 2) * graph.variant.passes
    assert equal(again["samples"], latent["samples"])
    assert torch.equal(record.noise, trajectory.noise)
    assert all(torch.equal(a, b) for a, b in zip(record.beside, trajectory.beside, strict=True))
    assert not folder.exists()


@pytest.mark.parametrize("held", [True, False])
def test_the_large_run_goes_on_with_sound_held_and_sampled_again(graph, folder, held):
    _, trajectory = graph.low_res()
    latent, sigmas, noise = graph.upsample(trajectory)
    if not held:
        latent = {name: value for name, value in latent.items() if name != "noise_mask"}
    given = {"trajectory": trajectory, "order": 3}

    def high(every):
        return graph.high_res((latent, sigmas, noise), resume_every=every, **given)

    whole = high(0)
    with Stopper(graph) as model:
        model.stop(graph.variant.passes, high, 1)
        assert equal(model.run(high, 1), whole)
        assert model.calls == (len(sigmas) - 2) * graph.variant.passes
    assert not folder.exists()
