"""Models that S²Flow cannot work with, or only partly: a sentence before sampling, never a wrong video."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_hunyuan import HUNYUAN_VARIANTS, hunyuan_weights
from tiny_variant import variant_graph
from tiny_wan import wan_graph
from tiny_wan_variants import WAN_VARIANTS, wan_weights
from torch import nn


def never_called(*_: Any, **__: Any) -> None:
    raise AssertionError("the model was called before the input was checked")


@pytest.fixture
def no_sampling(graph, monkeypatch):
    monkeypatch.setattr(type(graph.guider), "predict_noise", never_called)


def guider_of(model: Any) -> Any:
    import comfy.samplers

    return comfy.samplers.CFGGuider(model)


def stable_diffusion() -> Any:
    """SD 1.5's UNet and noise schedule, very small."""
    import comfy.model_base
    import comfy.supported_models

    config = comfy.supported_models.SD15(
        {
            "image_size": 32,
            "in_channels": 4,
            "out_channels": 4,
            "model_channels": 32,
            "num_res_blocks": [1],
            "channel_mult": [1],
            "num_heads": 2,
            "use_spatial_transformer": True,
            "transformer_depth": [1],
            "transformer_depth_middle": 1,
            "transformer_depth_output": [1, 1],
            "context_dim": 16,
            "use_temporal_attention": False,
            "legacy": False,
            "dtype": torch.float32,
        }
    )
    return patcher_of(comfy.model_base.BaseModel(config, comfy.model_base.ModelType.EPS))


def patcher_of(model: Any) -> Any:
    import comfy.model_patcher

    device = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=device)


def qwen_image() -> Any:
    """Qwen-Image: a flow model on Wan's VAE, whose latents have a frame axis, for single images."""
    import comfy.supported_models

    settings = {"in_channels": 64, "num_layers": 1, "num_attention_heads": 1, "joint_attention_dim": 64}
    config = comfy.supported_models.QwenImage(
        {"image_model": "qwen_image", "dtype": torch.float32, **settings}
    )
    return patcher_of(config.get_model({}))


def cosmos_image(kind: str = "CosmosT2IPredict2", channels: int = 16) -> Any:
    """Cosmos Predict2, very small, as text to image or as image to video."""
    import comfy.supported_models

    config = getattr(comfy.supported_models, kind)(
        {
            "image_model": "cosmos_predict2",
            "max_img_h": 16,
            "max_img_w": 16,
            "max_frames": 8,
            "in_channels": channels,
            "out_channels": 16,
            "patch_spatial": 2,
            "patch_temporal": 1,
            "model_channels": 64,
            "num_blocks": 1,
            "num_heads": 1,
            "concat_padding_mask": True,
            "crossattn_emb_channels": 64,
            "pos_emb_cls": "rope3d",
            "pos_emb_learnable": True,
            "dtype": torch.float32,
        }
    )
    return patcher_of(config.get_model({}))


def cosmos_video() -> Any:
    return cosmos_image("CosmosI2VPredict2", channels=17)


def hunyuan_image() -> Any:
    """HunyuanImage 2.1: a flow model of a known class, but for single images."""
    import comfy.sd

    weights = hunyuan_weights(
        in_channels=64,
        out_channels=64,
        patch_size=[1, 1],
        axes_dim=[64, 64],
        vec_in_dim=None,
        guidance_embed=False,
    )
    return comfy.sd.load_diffusion_model_state_dict(weights)


@pytest.mark.usefixtures("no_sampling")
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (stable_diffusion, "BaseModel is not a flow model"),
        (hunyuan_image, "HunyuanImage21 makes single images"),
        (qwen_image, "QwenImage makes single images"),
        (cosmos_image, "CosmosPredict2 makes single images"),
        (cosmos_video, "Cosmos-Predict2 counts its noise up to sigma 80"),
    ],
)
def test_a_model_that_makes_no_video_by_flow(graph, record, make, says):
    guider = guider_of(make())
    latent = {"samples": torch.ones(1, 16, 3, 8, 8)}
    with pytest.raises(ValueError, match=says):
        graph.low_res(guider=guider, latent_image=latent)
    with pytest.raises(ValueError, match=says):
        graph.high_res(record[1], guider=guider)
    with pytest.raises(ValueError, match=says):
        graph.high_res(record[1], guider_low_noise=guider)
    with pytest.raises(ValueError, match=says):
        graph.run("S2FlowApplyWindows", model=guider.model_patcher, windows=record[2])


@pytest.mark.usefixtures("no_sampling")
def test_a_trajectory_of_another_architecture(comfy_modules, graph, record, tmp_path):
    variant = HUNYUAN_VARIANTS[0]
    model = variant.load(tmp_path)
    hunyuan = variant_graph(comfy_modules, variant, model)
    with pytest.raises(ValueError, match="its model family is wan, the connected model has hunyuan_video"):
        hunyuan.high_res(record[1], trajectory=record[0])
    with pytest.raises(ValueError, match="made for a model with 2 layers of 2 heads; this one has 3 of 2"):
        hunyuan.high_res(record[1], windows=record[2])


@pytest.mark.usefixtures("no_sampling")
@pytest.mark.parametrize("model", ["stable_diffusion", "qwen_image", "hunyuan_video", "deeper_wan"])
def test_the_solver_refuses_it_before_the_first_step(comfy_modules, record, tmp_path, model):
    """HunyuanVideo's latents have the channels of Wan's, so their shapes fit."""
    samples = torch.zeros(1, 16, 3, 16, 16)
    if model == "stable_diffusion":
        patcher, says, samples = stable_diffusion(), "is not a flow model", torch.zeros(1, 4, 8, 8)
    elif model == "qwen_image":
        patcher, says = qwen_image(), "makes single images"
    elif model == "hunyuan_video":
        patcher, says = HUNYUAN_VARIANTS[0].load(tmp_path), "its model family is wan, the connected model"
    else:
        patcher, says = wan_with_more_layers(), "its number of layers is 2, the connected model has 3"
    guider = guider_of(patcher)
    guider.set_conds([[torch.zeros(1, 6, 64), {"pooled_output": torch.zeros(1, 768)}]], [])
    node = comfy_modules.node("SamplerCustomAdvanced")
    noise = comfy_modules.node("RandomNoise").execute(1).args[0]
    for trajectory in (record[0], None) if model in ("stable_diffusion", "qwen_image") else (record[0],):
        solver = comfy_modules.node("S2FlowSolver").execute(3, "blend", trajectory).args[0]
        with pytest.raises(ValueError, match=says):
            node.execute(noise, guider, solver, record[1][1], {"samples": samples})


def wan_with_more_layers() -> Any:
    import comfy.sd

    return comfy.sd.load_diffusion_model_state_dict(wan_weights(num_layers=3))


class FusedAttention(nn.Module):
    """Stands for a quantised model's own kernel: it never asks ComfyUI's attention function."""

    def forward(self, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        return x


def fused_model() -> Any:
    import comfy.sd

    patcher = comfy.sd.load_diffusion_model_state_dict(wan_weights())
    for block in patcher.model.diffusion_model.blocks:
        block.self_attn = FusedAttention()
    return patcher


@pytest.mark.usefixtures("no_sampling")
def test_attention_that_another_pack_has_fused(comfy_modules, graph, record):
    model = fused_model()
    says = r"attention of this wan model is computed by test_foreign_models\.FusedAttention"
    with pytest.raises(ValueError, match=f"{says}.* or set capture_rows to 0"):
        graph.low_res(guider=guider_of(model))
    with pytest.raises(ValueError, match=f"{says}.* or leave the windows out"):
        graph.high_res(record[1], guider=guider_of(model), windows=record[2])
    with pytest.raises(ValueError, match=f"{says}.* or set rope to none"):
        graph.high_res(record[1], guider=guider_of(model), trajectory=record[0], attention_temperature=True)
    with pytest.raises(ValueError, match=f"{says}.* or leave the windows out"):
        graph.run("S2FlowApplyWindows", model=model, windows=record[2])
    with pytest.raises(ValueError, match=f"{says}.* or set window to 0"):
        refined(graph, model, window=2)


def test_fused_attention_runs_without_capture_and_windows(comfy_modules):
    fused = wan_graph(comfy_modules, model=fused_model())
    _, trajectory = fused.low_res(capture_rows=0)
    triple = fused.upsample(trajectory)
    for rope in ("none", "auto"):
        assert torch.isfinite(fused.high_res(triple, trajectory=trajectory, order=2, rope=rope)).all()


def refined(graph, model: Any, **inputs: Any) -> torch.Tensor:
    """The Refiner Sampler's result with this light model."""
    latent = {"samples": torch.ones(1, 16, 3, 8, 8)}
    given = {"guider": guider_of(model), "latent": latent, "mode": "renoise", "steps": 2, "scale": 1.5}
    return graph.run("S2FlowRefinerSampler", **given | inputs)[0]["samples"]


def reshifted(graph, model: Any, **inputs: Any) -> torch.Tensor:
    """The latent of Noise Reshift for this model."""
    given = {"latent": {"samples": torch.ones(1, 16, 3, 8, 8)}, "sigmas": graph.sigmas, "k": 2, "scale": 0.5}
    modes = {"noise_mode": "fresh", "sigma_mode": "literal", "seed": 0}
    return graph.run("S2FlowNoiseReshift", model=model, **given | modes | inputs)[0]["samples"]


def test_sizes_and_the_refiner_without_windows_need_no_attention(comfy_modules, monkeypatch):
    """Neither asks where the tokens are: fused attention and unknown families go through."""
    fused = wan_graph(comfy_modules, model=fused_model())
    assert refined(fused, fused.guider.model_patcher, guider=fused.guider).shape[-2:] == (12, 12)
    assert reshifted(fused, fused.guider.model_patcher).shape[-2:] == (4, 4)
    known = wan_graph(comfy_modules)
    model = known.guider.model_patcher
    expected = refined(known, model, guider=known.guider)
    monkeypatch.setattr(comfy_modules.pack("nodes.host.model.checks"), "family_of", lambda model: None)
    assert torch.equal(refined(known, model, guider=known.guider), expected)
    assert reshifted(known, model).shape[-2:] == (4, 4)
    with pytest.raises(ValueError, match=r"does not know where WanModel .* or set window to 0"):
        refined(known, model, guider=known.guider, window=2)


def test_attention_that_never_arrives_ends_the_run_after_one_step(comfy_modules, monkeypatch):
    """Wan S2V of 0.3.75 is such a model: it calls its blocks without the transformer options."""
    import comfy.sd

    model = comfy.sd.load_diffusion_model_state_dict(wan_weights("WanModel_S2V", model_type="s2v"))
    graph = wan_graph(comfy_modules, model=model)
    steps = []
    predict = type(graph.guider).predict_noise
    monkeypatch.setattr(
        type(graph.guider),
        "predict_noise",
        lambda self, *given, **named: steps.append(1) or predict(self, *given, **named),
    )
    with pytest.raises(ValueError, match=r"never reaches ComfyUI's attention function.*capture_rows to 0"):
        graph.low_res()
    assert len(steps) == 1


def test_an_unknown_video_model_runs_dense_and_says_so_once(comfy_modules, monkeypatch, caplog, tmp_path):
    variant = WAN_VARIANTS[0]
    known = variant_graph(comfy_modules, variant, variant.load(tmp_path))
    expected, _ = known.low_res(capture_rows=0)
    facts = comfy_modules.pack("nodes.host.model.checks")
    monkeypatch.setattr(facts, "family_of", lambda model: None)
    with caplog.at_level("WARNING"):
        latent, trajectory = known.low_res()
    told = [record.message for record in caplog.records if "does not know where WanModel" in record.message]
    assert len(told) == 1
    assert torch.equal(latent["samples"], expected["samples"])
    assert trajectory.reach is None
    triple = known.upsample(trajectory)
    assert torch.isfinite(known.high_res(triple, trajectory=trajectory, order=3)).all()
    with pytest.raises(ValueError, match="no attention record"):
        known.windows(trajectory, triple[0], s=0.5)
