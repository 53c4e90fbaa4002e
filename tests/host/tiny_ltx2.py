"""LTX-2, tiny, with its sound; for versions of ComfyUI that know it."""

from __future__ import annotations

from typing import Any

import torch
from tiny_audio_video import AudioVideo, sound
from tiny_ltx import frame_rate, guided, held_first_frame
from tiny_variant import Size, State, random_weights

CAPTION = 64
SOUND = (8, 9, 16)
SETTINGS: dict[str, Any] = {
    "num_layers": 2,
    "attention_head_dim": 4,
    "cross_attention_dim": 128,
    "audio_attention_head_dim": 2,
    "audio_cross_attention_dim": 64,
    "caption_channels": CAPTION,
    "connector_attention_head_dim": 16,
    "connector_num_attention_heads": 4,
    "connector_num_layers": 1,
}


def ltx2_weights() -> State:
    import comfy.ldm.lightricks.av_model
    import comfy.ops

    kind = comfy.ldm.lightricks.av_model.LTXAVModel
    model = kind(**SETTINGS, operations=comfy.ops.disable_weight_init, dtype=torch.float32)
    return random_weights(model, sharpened="attn1.q_norm.weight")


def first_frame_with_sound(channels: int, size: Size) -> dict[str, Any]:
    """The LATENT of LTXVImgToVideo and an empty sound through LTXVConcatAVLatent."""
    return with_sound(held_first_frame(channels, size))


def with_sound(latent: dict[str, Any]) -> dict[str, Any]:
    """What LTXVConcatAVLatent makes of a video and an empty sound."""
    from comfy_extras.nodes_lt import LTXVConcatAVLatent

    return LTXVConcatAVLatent.execute(latent, {"samples": torch.zeros(1, *SOUND)}).args[0]


def variant(name: str, **settings: Any) -> AudioVideo:
    given = {
        "weights": ltx2_weights,
        "family": "ltx_audio_video",
        "layers": 2,
        "heads": 32,
        "latent_format": "LTXAV",
        "channels": 128,
        "size": (3, 4, 4),
        "patch": (1, 1, 1),
        "text_width": 2 * CAPTION,
        "conditions": frame_rate,
        "latent": sound(*SOUND),
        "model_class": "LTXAVModel",
        "module": "comfy.ldm.lightricks.av_model",
        "config": SETTINGS,
    }
    return AudioVideo(name, **given | settings)


def guide_variant(name: str, strength: float, shrunk: int = 1) -> AudioVideo:
    return variant(
        name,
        conditions=lambda size: guided(size, strength, shrunk)[0],
        latent=lambda channels, size: with_sound(guided(size, strength, shrunk)[1]),
        frames_behind=2,
    )


LTX2_VARIANTS = [
    variant("ltx2_text"),
    variant("ltx2_first_frame", latent=first_frame_with_sound),
    guide_variant("ltx2_guides", strength=1.0),
    guide_variant("ltx2_weak_guides", strength=0.6),
    guide_variant("ltx2_small_guides", strength=0.8, shrunk=2),
]
