"""What ComfyUI has learnt since 0.3.75 and does not fit the formulas, and positions of the models that do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from present_host import knows, lacks
from tiny_newer_models import NEWER_VARIANTS
from tiny_variant import variant_graph
from tiny_wan_variants import SETTINGS, WAN_VARIANTS

STRANGERS = {
    "WAN21_FlowRVS": "FlowRVS turns a video into the mask of an object",
    "WAN21_CausalAR": "one frame after the other with a sampler of its own",
    "CosmosPredict2": "counts its noise up to sigma 80",
    "CosmosVideo": "counts its noise up to sigma 80",
    "CogVideoX": "a diffusion schedule instead of a flow",
}


def variant(name: str) -> Any:
    return next(one for one in (*NEWER_VARIANTS, *WAN_VARIANTS) if one.name == name)


@pytest.mark.parametrize("name", STRANGERS)
def test_other_flows_are_refused_by_name_with_what_to_do(comfy_modules, tmp_path, name):
    if not knows("comfy.model_base", name):
        lacks(name)
    import comfy.model_base

    wan = variant("wan21_t2v")
    model = wan.load(tmp_path)
    model.model.__class__ = getattr(comfy.model_base, name)
    graph = variant_graph(comfy_modules, wan, model)
    with pytest.raises(ValueError, match=f"{STRANGERS[name]}.*Sample it with core's nodes"):
        graph.low_res()


def test_animate_2_runs_dense_and_says_so(comfy_modules, tmp_path, caplog):
    if not knows("comfy.ldm.wan.model_animate2", "WanAnimate2Model"):
        lacks("Wan Animate 2")
    import comfy.ldm.wan.model_animate2
    import comfy.model_base
    import comfy.ops

    wan = variant("wan21_i2v")
    model = wan.load(tmp_path)
    # Its checkpoints are those of image to video; only what runs them differs.
    network = comfy.ldm.wan.model_animate2.WanAnimate2Model(
        **SETTINGS, operations=comfy.ops.manual_cast, dtype=torch.float32
    )
    network.load_state_dict(wan.weights())
    model.model.diffusion_model = network.eval()
    model.model.__class__ = comfy.model_base.WAN_Animate2
    graph = variant_graph(comfy_modules, wan, model)
    with torch.inference_mode(), caplog.at_level("WARNING"):
        _, trajectory = graph.low_res()
        triple = graph.upsample(trajectory)
        result = graph.high_res(triple, order=3, trajectory=trajectory)
    assert trajectory.reach is None
    assert torch.isfinite(result).all()
    assert "Wan Animate 2 asks for attention frame by frame" in caplog.text
    with pytest.raises(ValueError, match=r"Wan Animate 2 asks for attention frame by frame.*window to 0"):
        graph.run(
            "S2FlowRefinerSampler",
            guider=graph.guider,
            latent={"samples": trajectory.final},
            mode="renoise",
            window=2,
        )


def test_wandancer_refuses_frames_that_its_music_does_not_divide(comfy_modules, tmp_path):
    dancer = variant("wan22_dancer")
    dancer.require_host()
    graph = variant_graph(comfy_modules, dancer, dancer.load(tmp_path))
    with pytest.raises(
        ValueError, match=r"frames of 12 tokens, and WanDancer's music.*multiples of 128 pixels"
    ):
        graph.low_res(latent_image={"samples": torch.zeros(1, 16, 3, 6, 8)})


def corner(table: torch.Tensor) -> torch.Tensor:
    """The rotation of the last token: the farthest position."""
    return table.flatten(0, 1)[-1]


@pytest.mark.parametrize("width", [128, 4096], ids=["lite", "pro"])
@pytest.mark.parametrize(("low", "high"), [((60, 60), (120, 120)), ((40, 64), (144, 100))])
def test_kandinskys_larger_video_spans_the_range_of_the_small_one(
    comfy_modules, tmp_path, monkeypatch, width, low, high
):
    """Its professional model counts in other steps once a frame has 14080 cells."""
    kandinsky = variant("kandinsky5")
    kandinsky.require_host()
    network = kandinsky.load(tmp_path).model.diffusion_model
    monkeypatch.setattr(network, "model_dim", width)
    grids = [(3, side // 2, other // 2) for side, other in (low, high)]
    positions = comfy_modules.pack("nodes.host.attention.positions")
    family = comfy_modules.pack("nodes.host.families").family_of(network)
    change = positions.SizeChange(*grids, rope="position")
    small, plain = (network.rope_encode_3d(3, *size, dtype=torch.float64) for size in (low, high))
    with change.positions_of(family, network):
        large = network.rope_encode_3d(3, *high, dtype=torch.float64)
    assert torch.allclose(corner(large), corner(small), atol=2e-2)
    assert not torch.allclose(corner(plain), corner(small), atol=2e-2)


@pytest.mark.parametrize("name", ["scail", "scail2", "wan22_s2v", "kandinsky5"])
@pytest.mark.parametrize("rope", ["position", "ntk"])
def test_positions_of_newer_models_can_be_adapted(comfy_modules, tmp_path, name, rope):
    newer = variant(name)
    newer.require_host()
    graph = variant_graph(comfy_modules, newer, newer.load(tmp_path))
    with torch.inference_mode():
        _, trajectory = graph.low_res(capture_rows=0)
        triple = graph.upsample(trajectory)
        plain, adapted = (graph.high_res(triple, trajectory=trajectory, rope=mode) for mode in ("none", rope))
    assert torch.isfinite(adapted).all()
    assert not torch.equal(plain, adapted)


def test_pictures_that_stand_aside_stay_there(comfy_modules):
    """SCAIL shifts its pose video by 120 positions; only the distances within a picture are scaled."""
    from comfy.ldm.flux.layers import EmbedND

    positions = comfy_modules.pack("nodes.host.attention.positions")
    embedder = EmbedND(dim=16, theta=10000, axes_dim=[4, 6, 6])
    scaled = positions.ScaledRotary(embedder, [1.0, 0.5, 0.25], [1.0, 1.0, 1.0])
    offsets = torch.rand(1, 7, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    offsets[:, 0] = 0
    shift = torch.tensor([3.0, 0.5, 120.5], dtype=torch.float64)
    expected = embedder(shift + offsets * torch.tensor([1.0, 0.5, 0.25], dtype=torch.float64))
    assert torch.allclose(scaled(shift + offsets), expected)
