"""LTX-Video, tiny. ComfyUI takes its 32 heads for granted, so they are narrow."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from tiny_vae import loaded_vae, start_picture
from tiny_variant import Size, State, Variant, random_weights

WIDTH = 128
TEXT_TOKENS = 6


def ltx_weights() -> State:
    import comfy.ldm.lightricks.model
    import comfy.ops

    model = comfy.ldm.lightricks.model.LTXVModel(
        in_channels=128,
        cross_attention_dim=WIDTH,
        attention_head_dim=WIDTH // 32,
        num_layers=2,
        operations=comfy.ops.disable_weight_init,
        dtype=torch.float32,
    )
    return random_weights(model, sharpened="attn1.q_norm.weight")


def frame_rate(size: Size) -> dict[str, Any]:
    return {"frame_rate": 25}


def text_mask(size: Size) -> dict[str, Any]:
    """What the T5 text encoder adds."""
    return {"attention_mask": torch.ones(1, TEXT_TOKENS, dtype=torch.int64)} | frame_rate(size)


def held_first_frame(channels: int, size: Size, strength: float = 1.0) -> dict[str, Any]:
    """The LATENT of LTXVImgToVideo."""
    from comfy_extras.nodes_lt import LTXVImgToVideo

    frames, height, width = size
    pixels = {"width": 32 * width, "height": 32 * height, "length": 8 * frames - 7, "batch_size": 1}
    picture = start_picture(size, side=32)
    _, _, latent = LTXVImgToVideo.execute(
        [], [], image=picture, vae=loaded_vae("ltx"), strength=strength, **pixels
    ).args
    return latent


@lru_cache
def guided(size: Size, strength: float, shrunk: int = 1) -> tuple[dict[str, Any], dict[str, Any]]:
    """(conditions, LATENT of the video) of LTXVAddGuide: a text, pictures at the first and the last frame.

    shrunk: how many times smaller an IC-LoRA wants the pictures.
    """
    from comfy_extras.nodes_lt import LTXVAddGuide

    texts = [[[None, frame_rate(size)]], [[None, frame_rate(size)]]]
    latent = {"samples": torch.zeros(1, 128, *size)}
    for frame in (0, -1):
        picture = start_picture(size, side=32)
        *texts, latent = LTXVAddGuide.execute(
            *texts,
            loaded_vae("ltx"),
            latent,
            picture,
            frame,
            strength,
            iclora_parameters={"reference_downscale_factor": shrunk},
        ).args
    return texts[0][0][1], latent


def variant(name: str, **settings: Any) -> Variant:
    given = {
        "weights": ltx_weights,
        "family": "ltx_video",
        "layers": 2,
        "heads": 32,
        "latent_format": "LTXV",
        "channels": 128,
        "size": (3, 4, 4),
        "patch": (1, 1, 1),
        "text_tokens": TEXT_TOKENS,
        "conditions": text_mask,
        "model_class": "LTXVModel",
    }
    return Variant(name, **given | settings)


LTX_VARIANTS = [variant("ltx_video"), variant("ltx_i2v", latent=held_first_frame)]
