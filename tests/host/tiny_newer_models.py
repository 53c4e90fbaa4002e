"""Video models that ComfyUI has learnt since 0.3.75, tiny: SCAIL, S2V and WanDancer, and Kandinsky 5."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from tiny_variant import Size, State, Variant, random_weights
from tiny_wan_variants import CLIP_TOKENS, SETTINGS, ClipVision, frame_tokens, noise, start_image
from tiny_wan_variants import variant as wan_variant

WAN = "comfy.ldm.wan.model"
MUSIC_FRAMES = 24


def weights(module: str, class_name: str, **changes: Any) -> State:
    import comfy.ops

    kind = getattr(importlib.import_module(module), class_name)
    model = kind(**changes, operations=comfy.ops.disable_weight_init, dtype=torch.float32)
    return random_weights(model, sharpened=("self_attn.norm_q.weight", "self_attention.query_norm.weight"))


def pose_and_reference(size: Size) -> dict[str, Any]:
    """What WanSCAILToVideo adds: a pose video of half the size, and the person's picture."""
    frames, height, width = size
    return {
        "pose_video_latent": noise(1, 16, frames, height // 2, width // 2),
        "reference_latents": [noise(1, 16, 1, height, width)],
        "clip_vision_output": ClipVision(CLIP_TOKENS),
        "ref_mask_flag": True,
    }


def two_people(size: Size) -> dict[str, Any]:
    """What it adds for SCAIL-2: two pictures, and masks that tell the people apart."""
    frames, height, width = size
    return pose_and_reference(size) | {
        "reference_latents": [noise(1, 16, 1, height, width) for _ in range(2)],
        "driving_mask_28ch": noise(1, frames, 28, height // 2, width // 2),
        "ref_mask_28ch": noise(1, frames + 2, 28, height, width),
    }


def voice_and_motion(size: Size) -> dict[str, Any]:
    """What WanSoundImageToVideo adds: sound, a picture, the video before and a pose video."""
    frames, height, width = size
    return {
        "audio_embed": noise(1, 25, 1024, 4 * frames),
        "reference_latents": [noise(1, 16, 1, height, width)],
        "reference_motion": noise(1, 16, 19, height, width),
        "control_video": noise(1, 16, frames, height, width),
    }


def motion(size: Size) -> int:
    _, height, width = size
    return height * width // 4 + height * width // 16 + 4 * (height * width // 64)


def dance(size: Size) -> dict[str, Any]:
    """What WanDancerVideo adds: music, and two pictures seen by CLIP."""
    return start_image(size) | {
        "clip_vision_output_ref": ClipVision(CLIP_TOKENS),
        "audio_embed": noise(1, MUSIC_FRAMES, 35),
        "fps": 30,
        "audio_inject_scale": 1.0,
    }


def kandinsky_text(size: Size) -> dict[str, Any]:
    return {"pooled_output": noise(1, 768)}


NEWER_VARIANTS: list[Variant] = [
    wan_variant(
        "scail",
        weights=lambda: weights(WAN, "SCAILWanModel", **SETTINGS),
        conditions=pose_and_reference,
        prefix=frame_tokens,
        suffix=lambda size: size[0] * frame_tokens(size) // 4,
        model_class="SCAILWanModel",
        module=WAN,
    ),
    wan_variant(
        "scail2",
        weights=lambda: weights(WAN, "SCAIL2WanModel", **SETTINGS),
        conditions=two_people,
        prefix=lambda size: 2 * frame_tokens(size),
        suffix=lambda size: size[0] * frame_tokens(size) // 4,
        model_class="SCAIL2WanModel",
        module=WAN,
    ),
    wan_variant(
        "wan22_s2v",
        weights=lambda: weights(WAN, "WanModel_S2V", **SETTINGS),
        conditions=voice_and_motion,
        suffix=lambda size: frame_tokens(size) + motion(size),
        model_class="WanModel_S2V",
        module=WAN,
        version="0.33.0",  # earlier ones do not hand its blocks the options that hooks come by
    ),
    wan_variant(
        "wan22_dancer",
        weights=lambda: weights(
            "comfy.ldm.wan.model_wandancer",
            "WanDancerModel",
            **SETTINGS,
            in_dim=36,
        ),
        conditions=dance,
        model_class="WanDancerModel",
        module="comfy.ldm.wan.model_wandancer",
    ),
    Variant(
        "kandinsky5",
        weights=lambda: weights(
            "comfy.ldm.kandinsky5.model",
            "Kandinsky5",
            model_dim=128,
            time_dim=64,
            ff_dim=64,
            num_text_blocks=1,
            num_visual_blocks=2,
        ),
        family="kandinsky5",
        layers=2,
        heads=2,
        latent_format="HunyuanVideo",
        text_width=3584,
        conditions=kandinsky_text,
        model_class="Kandinsky5",
        module="comfy.ldm.kandinsky5.model",
    ),
]
