"""HunyuanVideo 1.0 and 1.5, tiny, in the key layout in which Tencent publishes the first."""

from __future__ import annotations

import re
from dataclasses import fields
from functools import lru_cache
from typing import Any

import torch
from tiny_vae import loaded_vae, start_picture
from tiny_variant import Size, State, Variant, random_weights
from tiny_wan_variants import noise

PATCH = [1, 2, 2]
BYT5_TOKENS, BYT5_WIDTH = 3, 1472
VISION_TOKENS, VISION_WIDTH = 5, 1152
TEXT_TOKENS, TEXT_WIDTH = 6, 64
SETTINGS: dict[str, Any] = {
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 768,
    "context_in_dim": TEXT_WIDTH,
    "hidden_size": 256,
    "mlp_ratio": 4.0,
    "num_heads": 2,
    "depth": 1,
    "depth_single_blocks": 2,
    "axes_dim": [16, 56, 56],
    "theta": 256,
    "patch_size": PATCH,
    "qkv_bias": True,
    "guidance_embed": True,
    "byt5": False,
    "meanflow": False,
    "meanflow_sum": False,
    "use_cond_type_embedding": False,
    "vision_in_dim": None,
}

# ComfyUI's name on the left, the published one on the right.
PUBLISHED = [
    (r"(img|txt)_attn\.qkv\.", r"\1_attn_qkv."),
    (r"(img|txt)_attn\.norm\.query_norm\.scale", r"\1_attn_q_norm.weight"),
    (r"(img|txt)_attn\.norm\.key_norm\.scale", r"\1_attn_k_norm.weight"),
    (r"(img|txt)_attn\.proj\.", r"\1_attn_proj."),
    (r"\.norm\.query_norm\.scale", r".q_norm.weight"),
    (r"\.norm\.key_norm\.scale", r".k_norm.weight"),
    (r"_mod\.lin\.", r"_mod.linear."),
    (r"\.modulation\.lin\.", r".modulation.linear."),
    (r"mlp\.0\.", r"mlp.fc1."),
    (r"mlp\.2\.", r"mlp.fc2."),
    (r"txt_in\.t_embedder\.in_layer\.", r"txt_in.t_embedder.mlp.0."),
    (r"txt_in\.t_embedder\.out_layer\.", r"txt_in.t_embedder.mlp.2."),
    (r"txt_in\.c_embedder\.in_layer\.", r"txt_in.c_embedder.linear_1."),
    (r"txt_in\.c_embedder\.out_layer\.", r"txt_in.c_embedder.linear_2."),
    (r"(time|guidance)_in\.in_layer\.", r"\1_in.mlp.0."),
    (r"(time|guidance)_in\.out_layer\.", r"\1_in.mlp.2."),
]


def hunyuan_network(**changes: Any) -> torch.nn.Module:
    """ComfyUI's own class with the settings above."""
    import comfy.ops
    from comfy.ldm.hunyuan_video.model import HunyuanVideo, HunyuanVideoParams

    known = {field.name for field in fields(HunyuanVideoParams)}  # they differ between versions
    settings = {name: value for name, value in (SETTINGS | changes).items() if name in known}
    return HunyuanVideo(**settings, operations=comfy.ops.disable_weight_init, dtype=torch.float32)


def hunyuan_weights(**changes: Any) -> State:
    return random_weights(hunyuan_network(**changes), sharpened="query_norm.scale")


def published(state: State) -> State:
    renamed = {}
    for name, value in state.items():
        for ours, theirs in PUBLISHED:
            name = re.sub(ours, theirs, name)
        renamed[name] = value
    return renamed


class SiglipVision:
    """The part of CLIP Vision Encode's output that HunyuanVideo 1.5 reads."""

    last_hidden_state = noise(1, VISION_TOKENS, VISION_WIDTH)


def pooled_text(size: Size) -> dict[str, Any]:
    return {"pooled_output": noise(1, 768), "guidance": 6.0}


def masked_text(size: Size) -> dict[str, Any]:
    """The prompt's last tokens are padding, as the text encoder marks them."""
    mask = torch.ones(1, TEXT_TOKENS, dtype=torch.int64)
    mask[:, -2:] = 0
    return pooled_text(size) | {"attention_mask": mask}


@lru_cache
def image_to_video(size: Size) -> tuple[dict[str, Any], dict[str, Any]]:
    """What HunyuanImageToVideo makes of a text and an image with "v2 (replace)": conditions and LATENT."""
    from comfy_extras.nodes_hunyuan import HunyuanImageToVideo

    frames, height, width = size
    pixels = {"width": 8 * width, "height": 8 * height, "length": 4 * frames - 3, "batch_size": 1}
    positive, latent = HunyuanImageToVideo.execute(
        [[None, pooled_text(size)]],
        loaded_vae("hunyuan"),
        guidance_type="v2 (replace)",
        start_image=start_picture(size, side=8),
        **pixels,
    ).args
    return positive[0][1], latent


def replaced_first_frame(size: Size) -> dict[str, Any]:
    return image_to_video(size)[0]


def held_first_frame(channels: int, size: Size) -> dict[str, Any]:
    return image_to_video(size)[1]


def custom_reference(size: Size) -> dict[str, Any]:
    """What HunyuanImageToVideo adds with "custom"."""
    _, height, width = size
    return pooled_text(size) | {"ref_latent": noise(1, 16, 1, height, width)}


def concatenated_image(size: Size) -> dict[str, Any]:
    """What HunyuanImageToVideo adds with "v1 (concat)"."""
    frames, height, width = size
    return pooled_text(size) | {
        "concat_latent_image": noise(1, 16, frames, height, width),
        "concat_mask": torch.ones(1, 1, frames, height, width),
    }


def glyphs_and_image(size: Size) -> dict[str, Any]:
    """What the 1.5 text encoder and HunyuanVideo15ImageToVideo add."""
    frames, height, width = size
    return pooled_text(size) | {
        "conditioning_byt5small": noise(1, BYT5_TOKENS, BYT5_WIDTH),
        "clip_vision_output": SiglipVision(),
        "concat_latent_image": noise(1, 32, frames, height, width),
        "concat_mask": torch.ones(1, 1, frames, height, width),
    }


def small_video(size: Size) -> dict[str, Any]:
    """What HunyuanVideo15SuperResolution adds: a start image and the small video, each with its mask."""
    frames, height, width = size
    given = {key: value for key, value in glyphs_and_image(size).items() if key != "concat_mask"}
    return given | {"concat_latent_image": noise(1, 66, frames, height, width), "noise_augmentation": 0.7}


def reference_tokens(size: Size) -> int:
    return size[1] // PATCH[1] * (size[2] // PATCH[2])


def variant(name: str, **settings: Any) -> Variant:
    given = {
        "weights": lambda: published(hunyuan_weights()),
        "family": "hunyuan_video",
        "layers": 3,
        "heads": 2,
        "latent_format": "HunyuanVideo",
        "text_width": TEXT_WIDTH,
        "text_tokens": TEXT_TOKENS,
        "conditions": pooled_text,
        "suffix": lambda size: TEXT_TOKENS,
        "model_class": "HunyuanVideo",
    }
    return Variant(name, **given | settings)


HUNYUAN_VARIANTS = [
    variant("hunyuan_t2v"),
    # ComfyUI itself runs these three only one condition at a time, so they have no negative prompt.
    variant("hunyuan_t2v_masked", conditions=masked_text, guidance=1.0),
    variant("hunyuan_i2v_replace", conditions=replaced_first_frame, latent=held_first_frame, guidance=1.0),
    variant("hunyuan_i2v_reference", conditions=custom_reference, prefix=reference_tokens, guidance=1.0),
    variant(
        "hunyuan_i2v_concat",
        weights=lambda: published(hunyuan_weights(in_channels=33)),
        conditions=concatenated_image,
    ),
    variant(
        "hunyuan15",
        weights=lambda: hunyuan_weights(
            in_channels=65,
            out_channels=32,
            vec_in_dim=None,
            patch_size=[1, 1, 1],
            guidance_embed=False,
            byt5=True,
            use_cond_type_embedding=True,
            vision_in_dim=VISION_WIDTH,
        ),
        latent_format="HunyuanVideo15",
        channels=32,
        size=(3, 4, 4),
        patch=(1, 1, 1),
        conditions=glyphs_and_image,
        suffix=lambda size: TEXT_TOKENS + BYT5_TOKENS + VISION_TOKENS,
    ),
    variant(
        "hunyuan15_sr",
        weights=lambda: hunyuan_weights(
            in_channels=98,
            out_channels=32,
            vec_in_dim=None,
            patch_size=[1, 1, 1],
            guidance_embed=False,
            byt5=True,
            use_cond_type_embedding=True,
            vision_in_dim=VISION_WIDTH,
        ),
        latent_format="HunyuanVideo15",
        channels=32,
        size=(3, 4, 4),
        patch=(1, 1, 1),
        conditions=small_video,
        suffix=lambda size: TEXT_TOKENS + BYT5_TOKENS + VISION_TOKENS,
    ),
]
