"""A guider made for the small run and used for the large one: a sentence before the first step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_families import VARIANTS
from tiny_variant import VariantGraph, variant_graph
from tiny_wan import SeededNoise

BY_NAME = {variant.name: variant for variant in VARIANTS}
FAILING = {
    "wan21_vace": "the control video",
    "wan21_phantom": "the subject images",
    "wan21_fun_control": "the reference image",
    "wan21_camera": "the camera path",
    "wan22_animate": "the pose video",
}
ENLARGED = {
    "wan21_i2v": "the start image or control video",
    "hunyuan15": "the start image or control video",
    "wan21_humo": "the reference image",
    "hunyuan_i2v_reference": "the reference image",
}


@pytest.fixture
def graph(request, comfy_modules, tmp_path) -> VariantGraph:
    variant = BY_NAME[request.param]
    return variant_graph(comfy_modules, variant, variant.load(tmp_path))


def large_inputs(graph: VariantGraph) -> tuple[Any, torch.Tensor, Any]:
    """(latent, sigmas, noise) at the large size; what was recorded before does not matter here."""
    variant = graph.variant
    return {"samples": torch.zeros(1, variant.channels, *variant.large)}, graph.sigmas[4:], SeededNoise(1)


def called(*_: Any, **__: Any) -> None:
    raise AssertionError("the model was called before the conditioning was checked")


@pytest.mark.parametrize(("graph", "says"), FAILING.items(), indirect=["graph"], ids=list(FAILING))
def test_conditions_of_the_small_size_are_refused(graph, says, monkeypatch):
    monkeypatch.setattr(type(graph.guider), "predict_noise", called)
    wanted = rf"{says}.* is for 64×64 pixels, but this run is at 128×128.*again at 128×128 with the same node"
    with pytest.raises(ValueError, match=wanted):
        graph.high_res(large_inputs(graph), guider=graph.guider)
    with pytest.raises(ValueError, match=wanted):
        graph.high_res(large_inputs(graph), guider_low_noise=graph.guider)
    with pytest.raises(
        ValueError, match=r"is for 128×128 pixels.*connect that guider to the Low-Res Sampler"
    ):
        graph.low_res(guider=graph.large_guider)
    small = {"samples": torch.zeros(1, graph.variant.channels, *graph.variant.size)}
    with pytest.raises(ValueError, match=rf"{says}.* at 128×128.*that guider to the Refiner Sampler"):
        graph.run("S2FlowRefinerSampler", guider=graph.guider, latent=small, mode="renoise", scale=2.0)


@pytest.mark.parametrize(("graph", "says"), ENLARGED.items(), indirect=["graph"], ids=list(ENLARGED))
def test_what_is_enlarged_silently_is_reported_once(graph, says, caplog):
    with caplog.at_level("WARNING"):
        result = graph.high_res(large_inputs(graph), guider=graph.guider)
    assert torch.isfinite(result).all()
    told = [record.getMessage() for record in caplog.records if says in record.getMessage()]
    assert len(told) == 1
    assert "the same node and connect that guider to the High-Res Sampler" in told[0]
    caplog.clear()
    with caplog.at_level("WARNING"):
        graph.high_res(large_inputs(graph))
    assert says not in caplog.text


@pytest.mark.parametrize("form", ["starts", "starts and ends", "every other token"])
def test_keyframes_cover_what_their_latent_covers(comfy_modules, form):
    """ComfyUI keeps where tokens start, newer versions also where they end; some guides leave tokens out."""
    from comfy.ldm.lightricks.symmetric_patchifier import SymmetricPatchifier, latent_to_pixel_coords

    _, cells = SymmetricPatchifier(1).patchify(torch.zeros(1, 128, 2, 6, 10))
    coordinates = latent_to_pixel_coords(cells, (8, 32, 32), causal_fix=True)  # (1, 3, tokens)
    if form == "starts and ends":
        ends = coordinates + torch.tensor([8, 32, 32])[None, :, None]
        coordinates = torch.stack([coordinates, ends], dim=-1)
    if form == "every other token":
        coordinates = coordinates[:, :, (coordinates[0, 1] % 64 == 0) & (coordinates[0, 2] % 64 == 0)]
    conditioning_size = comfy_modules.pack("nodes.host.size.conditioning_size")
    assert conditioning_size.picture_size("keyframe_idxs", coordinates) == (6 * 32, 10 * 32)
