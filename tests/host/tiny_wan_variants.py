"""The Wan models that people run, tiny: each variant of ComfyUI 0.3.75 and its conditions."""

from __future__ import annotations

from typing import Any

import torch
from tiny_vae import loaded_vae, start_picture
from tiny_variant import Size, State, Variant, random_weights
from torch import Tensor

SETTINGS: dict[str, Any] = {"dim": 256, "ffn_dim": 256, "num_heads": 2, "num_layers": 2}
PATCH = (1, 2, 2)
CLIP_TOKENS = 257
CLIP_WIDTH = 1280


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(21))


def wan_weights(class_name: str = "WanModel", **changes: Any) -> State:
    import comfy.ldm.wan.model
    import comfy.ldm.wan.model_animate
    import comfy.ops

    place = comfy.ldm.wan.model_animate if class_name == "AnimateWanModel" else comfy.ldm.wan.model
    kind = getattr(place, class_name)
    model = kind(**SETTINGS | changes, operations=comfy.ops.disable_weight_init, dtype=torch.float32)
    return random_weights(model, sharpened="self_attn.norm_q.weight")


class ClipVision:
    """The part of CLIP Vision Encode's output that Wan reads."""

    def __init__(self, tokens: int):
        self.penultimate_hidden_states = noise(1, tokens, CLIP_WIDTH)


def start_image(size: Size, channels: int = 16, tokens: int = CLIP_TOKENS) -> dict[str, Any]:
    """What WanImageToVideo adds."""
    frames, height, width = size
    mask = torch.ones(1, 1, frames, height, width)
    mask[:, :, :1] = 0
    return {
        "concat_latent_image": noise(1, channels, frames, height, width),
        "concat_mask": mask,
        "clip_vision_output": ClipVision(tokens),
    }


def first_and_last_image(size: Size) -> dict[str, Any]:
    """What WanFirstLastFrameToVideo adds: the CLIP tokens of two pictures."""
    return start_image(size, tokens=2 * CLIP_TOKENS)


def control_with_reference(size: Size) -> dict[str, Any]:
    """What WanFunControlToVideo adds."""
    frames, height, width = size
    return {
        "concat_latent_image": noise(1, 32, frames, height, width),
        "clip_vision_output": ClipVision(CLIP_TOKENS),
        "reference_latents": [noise(1, 16, 1, height, width)],
    }


def control_video(size: Size) -> dict[str, Any]:
    """What WanVaceToVideo adds."""
    frames, height, width = size
    return {
        "vace_frames": [noise(1, 32, frames, height, width)],
        "vace_mask": [torch.ones(1, 64, frames, height, width)],
        "vace_strength": [1.0],
    }


def two_control_videos(size: Size) -> dict[str, Any]:
    """Two WanVaceToVideo nodes in a row."""
    return {key: value * 2 for key, value in control_video(size).items()}


def camera_motion(size: Size) -> dict[str, Any]:
    """What WanCameraImageToVideo adds."""
    frames, height, width = size
    return start_image(size) | {"camera_conditions": noise(1, 24, frames, 8 * height, 8 * width)}


def subject_frames(size: Size) -> dict[str, Any]:
    """What WanPhantomSubjectToVideo adds."""
    _, height, width = size
    return {"time_dim_concat": noise(1, 16, 2, height, width)}


def person(size: Size) -> dict[str, Any]:
    """What WanHuMoImageToVideo adds."""
    _, height, width = size
    return {"reference_latents": [noise(1, 16, 1, height, width)]}


def held_first_frame(channels: int, size: Size) -> dict[str, Any]:
    """The LATENT of Wan22ImageToVideoLatent, which is all that makes the 5B model image-to-video."""
    from comfy_extras.nodes_wan import Wan22ImageToVideoLatent

    frames, height, width = size
    return Wan22ImageToVideoLatent.execute(
        loaded_vae("wan22"), 16 * width, 16 * height, 4 * frames - 3, 1, start_picture(size, side=16)
    ).args[0]


def pose_video(size: Size) -> dict[str, Any]:
    """What WanAnimateToVideo adds for a character image and a pose video."""
    frames, height, width = size
    return start_image(size) | {"pose_video_latent": noise(1, 16, frames - 1, height, width)}


def frame_tokens(size: Size) -> int:
    return size[1] // PATCH[1] * (size[2] // PATCH[2])


def variant(name: str, **settings: Any) -> Variant:
    given = {"family": "wan", "layers": 2, "heads": 2, "latent_format": "Wan21", "patch": PATCH}
    return Variant(name, **given | settings)


WAN_VARIANTS = [
    variant("wan21_t2v", weights=wan_weights),
    variant(
        "wan21_i2v",
        weights=lambda: wan_weights(model_type="i2v", in_dim=36),
        conditions=start_image,
    ),
    variant(
        "wan21_flf2v",
        weights=lambda: wan_weights(model_type="i2v", in_dim=36, flf_pos_embed_token_number=2 * CLIP_TOKENS),
        conditions=first_and_last_image,
    ),
    variant(
        "wan21_fun_control",
        weights=lambda: wan_weights(model_type="i2v", in_dim=48, in_dim_ref_conv=16),
        conditions=control_with_reference,
        prefix=frame_tokens,
    ),
    variant(
        "wan21_camera",
        weights=lambda: wan_weights("CameraWanModel", model_type="camera", in_dim=32),
        conditions=camera_motion,
        model_class="CameraWanModel",
    ),
    variant(
        "wan21_vace",
        weights=lambda: wan_weights("VaceWanModel", vace_layers=1, vace_in_dim=96),
        conditions=control_video,
        family="wan_vace",
        layers=3,
        model_class="VaceWanModel",
    ),
    variant(
        "wan21_phantom",
        weights=wan_weights,
        conditions=subject_frames,
        suffix=lambda size: 2 * frame_tokens(size),
    ),
    variant(
        "wan21_humo",
        weights=lambda: wan_weights("HumoWanModel", in_dim=16),
        conditions=person,
        suffix=frame_tokens,
        model_class="HumoWanModel",
    ),
    variant(
        "wan22_animate",
        weights=lambda: wan_weights("AnimateWanModel", in_dim=36, num_layers=5, motion_encoder_dim=512),
        conditions=pose_video,
        layers=5,
        model_class="AnimateWanModel",
    ),
    variant("wan22_14b_t2v", weights=wan_weights),
    variant(
        "wan22_14b_i2v",
        weights=lambda: wan_weights(in_dim=36),  # no CLIP branch any more
        conditions=lambda size: {
            key: value for key, value in start_image(size).items() if key != "clip_vision_output"
        },
    ),
    variant(
        "wan22_5b",
        weights=lambda: wan_weights(in_dim=48, out_dim=48),
        latent_format="Wan22",
        channels=48,
    ),
    variant(
        "wan22_5b_i2v",
        weights=lambda: wan_weights(in_dim=48, out_dim=48),
        latent_format="Wan22",
        channels=48,
        latent=held_first_frame,
    ),
]
