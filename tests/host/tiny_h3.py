"""MiniMax H3, tiny, with its sound; for versions of ComfyUI that know it."""

from __future__ import annotations

from typing import Any

import torch
from tiny_audio_video import AudioVideo, sound
from tiny_variant import Size, State, random_weights
from tiny_wan_variants import noise

TEXT_WIDTH = 48
FREQUENCIES = 4
SETTINGS: dict[str, Any] = {
    "hidden_size": 64,
    "num_layers": 2,
    "token_refiner_num_layers": 1,
    "num_attention_heads": 2,
    "attention_head_dim": 32,
    "ffn_hidden_size": 64,
    "text_dim": TEXT_WIDTH,
    "timestep_input_dim": 32,
    "time_embed_hidden_size": 64,
    "time_embed_dim": 32,
    "rope_inv_freq_len": FREQUENCIES,
}


def h3_weights() -> State:
    import comfy.ldm.minimax.model
    import comfy.ops

    kind = comfy.ldm.minimax.model.MiniMaxH3Model
    model = kind(**SETTINGS, operations=comfy.ops.disable_weight_init, dtype=torch.float32)
    state = random_weights(model, sharpened="attn.q_norm.weight")
    return state | {"rope.inv_freq": 10000.0 ** (-torch.arange(FREQUENCIES) / FREQUENCIES)}


def keyframes(size: Size) -> dict[str, Any]:
    """What MiniMaxH3ImageToVideo adds for a first and a last frame: the first with sound of its own."""
    _, height, width = size
    picture = noise(1, 24, 1, height, width)
    first = {"resolved_frame_index": 0, "latent": picture, "audio_latent": noise(1, 32, 2, 2)}
    return {"minimax_keyframes": [first, {"resolved_frame_index": 4, "latent": picture.flip(-1)}]}


def references(size: Size) -> dict[str, Any]:
    """What MiniMaxH3ReferenceToVideo adds for a picture, a video with its sound, and a sound."""
    picture = {"kind": "image", "latent_h": 4, "latent_w": 6, "latent": noise(1, 24, 1, 4, 6)}
    video = {
        "kind": "video_audio",
        "latent_t": 2,
        "latent_h": 4,
        "latent_w": 4,
        "ref_audio_t": 3,
        "latent": noise(1, 24, 2, 4, 4),
        "audio_latent": noise(1, 32, 2, 3),
    }
    voice = {"kind": "audio", "ref_audio_t": 2, "audio_latent": noise(1, 32, 2, 2)}
    return {"minimax_refs": [picture, video, voice]}


def variant(name: str, **settings: Any) -> AudioVideo:
    given = {
        "weights": h3_weights,
        "family": "minimax_h3",
        "layers": 2,
        "heads": 2,
        "latent_format": "MiniMaxH3AV",
        "channels": 24,
        "size": (2, 8, 8),
        "text_width": TEXT_WIDTH,
        "latent": sound(32, 2, 8),
        # Two prompts of different length, which run in passes of their own.
        "text_lengths": (6, 4),
        "passes": 2,
        "model_class": "MiniMaxH3Model",
        "module": "comfy.ldm.minimax.model",
    }
    return AudioVideo(name, **given | settings)


H3_VARIANTS = [
    variant("h3_text"),
    variant("h3_keyframes", conditions=keyframes),
    variant("h3_references", conditions=references),
]
