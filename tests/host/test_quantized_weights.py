"""Weights in 8 bits: core's weight_dtype, and its quantized loading of fp8 with scales and of int8."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from both_runs import both_runs, video_of
from present_host import lacks
from tiny_h3 import H3_VARIANTS
from tiny_hunyuan import HUNYUAN_VARIANTS
from tiny_ltx import LTX_VARIANTS
from tiny_ltx2 import LTX2_VARIANTS
from tiny_quantized import FORMATS, Quantized
from tiny_variant import State, variant_graph
from tiny_wan_variants import WAN_VARIANTS

EVERY = (*WAN_VARIANTS, *HUNYUAN_VARIANTS, *LTX_VARIANTS, *LTX2_VARIANTS, *H3_VARIANTS)
BY_NAME = {variant.name: variant for variant in EVERY}
NAMES = ("wan21_t2v", "wan22_5b", "hunyuan15", "ltx_video", "ltx2_text", "h3_text")
# int8 rounds what comes into a layer to 127 steps, so a difference in the last bit may become one in the
# second digit: core's own attention functions, split and PyTorch's, differ by 0.01 in such a run.
TOLERANCES = {"float8_e4m3fn": 1e-3, "int8_tensorwise": 2e-2}

pytestmark = pytest.mark.usefixtures("no_fall_back")


@pytest.fixture(autouse=True)
def inference():
    """As ComfyUI runs a prompt."""
    with torch.inference_mode():
        yield


@pytest.fixture(params=NAMES)
def variant(request):
    variant = BY_NAME[request.param]
    variant.require_host()
    return variant


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_weight_dtype_of_load_diffusion_model(comfy_modules, tmp_path, variant, dtype):
    """Stored in 8 bits, computed in more. MiniMax H3's norms are not made for it: core ends with an error."""
    if variant.family == "minimax_h3":
        pytest.skip("core has no fp8 for the norms of MiniMax H3")
    model = variant.load(tmp_path, dtype=dtype)
    assert dtype in {value.dtype for value in model.model.diffusion_model.parameters() if value.ndim > 1}
    windowed, dense = both_runs(comfy_modules, variant, model)
    assert torch.isfinite(windowed).all()
    assert not torch.equal(windowed, dense)


def in_8_bits(model) -> int:
    """Matrices in 8 bits; later versions wrap each together with its scale."""
    matrices = [getattr(weight, "_qdata", weight) for weight in model.model.diffusion_model.parameters()]
    return len([matrix for matrix in matrices if matrix.ndim == 2 and matrix.element_size() == 1])


def small_runs_differ_by(modules, variant, model, meant: State, folder) -> float:
    """How far the LR run is from that of the weights that the file stands for, relative."""
    same = replace(variant, name=f"{variant.name}_meant", weights=lambda: meant).load(folder)
    one, other = (
        video_of(variant_graph(modules, variant, patcher).low_res(capture_rows=0)[0]["samples"]).float()
        for patcher in (model, same)
    )
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("format", FORMATS)
def test_quantized_layers_with_a_scale_each(comfy_modules, tmp_path, variant, format):
    """As the metadata of published files name them."""
    import comfy.quant_ops

    if format not in comfy.quant_ops.QUANT_ALGOS:
        lacks(f"{format} weights")
    quantized = Quantized.of(variant.weights(), format)
    model = quantized.load(variant, tmp_path)
    assert in_8_bits(model) == len(quantized.layers) > 10
    windowed, dense = both_runs(comfy_modules, variant, model, TOLERANCES[format])
    assert torch.isfinite(windowed).all()
    assert not torch.equal(windowed, dense)
    # Compute types are core's choice for such files, bfloat16 for the most part; int8 rounds the inputs too.
    assert small_runs_differ_by(comfy_modules, variant, model, quantized.meant, tmp_path) < 0.05


def scaled_fp8(weights: State) -> tuple[State, State]:
    """A checkpoint as "fp8_scaled" files are, every matrix in 8 bits with a scale, and what it stands for."""
    stored, meant = {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}, {}
    for name, value in weights.items():
        stored[name] = meant[name] = value
        if name.endswith(".weight") and value.ndim == 2 and "type_embedding" not in name:
            scale = value.abs().max() / torch.finfo(torch.float8_e4m3fn).max
            stored[name] = (value / scale).to(torch.float8_e4m3fn)
            stored[name.removesuffix("weight") + "scale_weight"] = scale
            meant[name] = stored[name].float() * scale
    return stored, meant


def test_earlier_fp8_scaled_files(comfy_modules, tmp_path, variant):
    stored, meant = scaled_fp8(variant.weights())
    model = replace(variant, weights=lambda: stored).load(tmp_path)
    assert in_8_bits(model) > 20
    windowed, dense = both_runs(comfy_modules, variant, model)
    assert not torch.equal(windowed, dense)
    assert small_runs_differ_by(comfy_modules, variant, model, meant, tmp_path) < 0.05
