"""What artists stack on a model: LoRAs, half precision, large batches, guidance off, odd sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from both_runs import assert_close, both_runs
from tiny_hunyuan import HUNYUAN_VARIANTS
from tiny_lora import lora_file, with_lora
from tiny_ltx import LTX_VARIANTS
from tiny_variant import variant_graph
from tiny_wan_variants import WAN_VARIANTS

BY_NAME = {variant.name: variant for variant in (*WAN_VARIANTS, *HUNYUAN_VARIANTS, *LTX_VARIANTS)}
FAMILIES = ("wan21_t2v", "wan22_5b", "hunyuan_t2v", "hunyuan15", "ltx_video")

# Tokens (frames, height, width) of what people render, and the same scaled down with its divisibility.
ODD_SIZES = {
    "832x480x81": (21, 30, 52),
    "848x480x33": (9, 30, 53),
    "1280x720x121": (31, 45, 80),
}
SCALED = {"832x480x81": (5, 6, 10), "848x480x33": (3, 6, 11), "1280x720x121": (7, 9, 8)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.mark.parametrize("name", [*FAMILIES, "wan21_vace", "wan21_i2v"])
def test_with_a_lora(comfy_modules, folder, name, no_fall_back):
    """Through core's own LoRA code, which the Load LoRA nodes call."""
    variant = BY_NAME[name]
    model = variant.load(folder)
    patched = with_lora(model, folder / f"{name}_lora.safetensors")
    windowed, dense = both_runs(comfy_modules, variant, patched)
    assert torch.isfinite(windowed).all()
    _, plain = both_runs(comfy_modules, variant, model)
    assert (dense - plain).abs().max() > 1e-3 * plain.abs().max()


def test_with_a_lora_on_each_of_two_experts(comfy_modules, folder, no_fall_back):
    """Both experts are one file here, so that only their LoRAs tell them apart."""
    variant = BY_NAME["wan22_14b_i2v"]
    model = variant.load(folder)
    high = with_lora(model, folder / "high_lora.safetensors")
    low = with_lora(model, folder / "low_lora.safetensors", strength=-1.0)
    graph = variant_graph(comfy_modules, variant, high)
    boundary = {"boundary": 0.7}
    pair = {size: variant.guider(low, size) for size in (variant.size, variant.large)}
    latent, trajectory = graph.low_res(guider_low_noise=pair[variant.size], **boundary)
    alone, _ = graph.low_res()
    assert (latent["samples"] - alone["samples"]).abs().max() > 1e-3 * alone["samples"].abs().max()
    triple = graph.upsample(trajectory, t_i=5)
    large = {"guider_low_noise": pair[variant.large], **boundary}
    whole = graph.windows(trajectory, triple[0], s=1.0)
    dense = graph.high_res(triple, **large)
    assert_close(graph.high_res(triple, windows=whole, backend="torch_boxes", **large), dense, 1e-3)
    assert (dense - graph.high_res(triple)).abs().max() > 1e-3 * dense.abs().max()
    windows = graph.windows(trajectory, triple[0], s=0.5)
    windowed = graph.high_res(triple, windows=windows, backend="torch_boxes", **large)
    assert torch.isfinite(windowed).all() and not torch.equal(windowed, dense)


def test_with_a_lora_on_one_prompt_alone(comfy_modules, folder, no_fall_back):
    """Core's LoRA hooks: the positive prompt runs with other weights, hence in a pass of its own."""
    import comfy.hooks
    import comfy.samplers
    import comfy.utils

    variant = BY_NAME["wan21_t2v"]
    model = variant.load(folder)
    lora = comfy.utils.load_torch_file(lora_file(model, folder / "hook_lora.safetensors"))
    hooks = comfy.hooks.create_hook_lora(lora=lora, strength_model=1.0, strength_clip=0.0)
    graph = variant_graph(comfy_modules, variant, model)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds([[variant.text(11), {"hooks": hooks}]], [[variant.text(12), {}]])
    guider.set_cfg(3.0)
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    _, trajectory = graph.low_res(guider=guider)
    triple = graph.upsample(trajectory)
    whole = graph.windows(trajectory, triple[0], s=1.0)
    dense = graph.high_res(triple, guider=guider)
    windowed = graph.high_res(triple, guider=guider, windows=whole, backend="torch_boxes")
    assert_close(windowed, dense, 1e-3)
    assert (dense - graph.high_res(triple)).abs().max() > 1e-3 * dense.abs().max()
    for name, value in model.model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_in_half_precision(comfy_modules, folder, name, precision, no_fall_back):

    variant = BY_NAME[name]
    model = variant.load(folder, dtype=precision)
    graph = variant_graph(comfy_modules, variant, model)
    _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory)
    windows = graph.windows(trajectory, triple[0], s=0.5)
    assert torch.isfinite(graph.high_res(triple, windows=windows, backend="torch_boxes")).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_with_two_videos_at_once(comfy_modules, folder, name, no_fall_back):
    variant = BY_NAME[name]
    latent = {"samples": torch.zeros(2, variant.channels, *variant.size)}
    windowed, _ = both_runs(comfy_modules, variant, variant.load(folder), latent_image=latent)
    assert windowed.shape[0] == 2
    assert torch.isfinite(windowed).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_without_guidance(comfy_modules, folder, name, no_fall_back):
    variant = replace(BY_NAME[name], guidance=1.0)
    windowed, dense = both_runs(comfy_modules, variant, variant.load(folder))
    assert torch.isfinite(windowed).all()
    assert not torch.equal(windowed, dense)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *((name, size) for name in ("wan21_t2v", "hunyuan_t2v") for size in SCALED),
        *((name, "848x480x33") for name in ("wan22_5b", "hunyuan15", "ltx_video")),
    ],
)
def test_sizes_that_no_tile_divides(comfy_modules, folder, name, size, no_fall_back):
    real, scaled = ODD_SIZES[size], SCALED[size]
    assert [side % 2 for side in real] == [side % 2 for side in scaled]
    variant = BY_NAME[name]
    latent = tuple(side * step for side, step in zip(scaled, variant.patch, strict=True))
    windowed, dense = both_runs(
        comfy_modules, replace(variant, size=latent), variant.load(folder), capture_error=False
    )
    assert torch.isfinite(windowed).all()
    assert not torch.equal(windowed, dense)
