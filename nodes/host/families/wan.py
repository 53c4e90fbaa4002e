"""Wan 2.1 and 2.2 and what was built on them: image to video, VACE, camera, fun-control, HuMo, SCAIL, S2V."""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import torch
from torch import Tensor

from ....s2flow_core.latent.extra_frames import NO_EXTRA_FRAMES, ExtraFrames
from ....s2flow_core.windows.grid import Triple
from .family import BlockKey, ModelFamily, TokenLayout, is_a, patched_grid, patched_tokens

# WanDancer deals every frame's tokens out to so many pieces of music.
MUSIC_PARTS = 8


class Wan(ModelFamily):
    """Text, CLIP image tokens and audio come in by cross-attention; only pictures and poses add tokens.

    The two experts of Wan 2.2 are two such models, and its 5B model differs only in its latent (48 channels).
    """

    name = "wan"
    model_class = "WanModel"
    rotary = "rope_embedder"

    def matches(self, model: Any) -> bool:
        return super().matches(model) and not is_a(model, "WanAnimate2Model")  # attends frame by frame

    def patch(self, model: Any) -> Triple:
        frames, height, width = model.patch_size
        return (frames, height, width)

    def heads(self, model: Any) -> int:
        return model.num_heads

    def objection(self, model: Any, video: Tensor) -> str | None:
        _, height, width = patched_grid(video, self.patch(model))
        if is_a(model, "WanDancerModel") and height * width % MUSIC_PARTS:
            return (
                f"has frames of {height * width} tokens, and WanDancer's music needs a number that "
                f"{MUSIC_PARTS} divides. Choose a width or height in multiples of {16 * MUSIC_PARTS} pixels."
            )
        return None

    def extra_frames(self, model: Any, condition: dict[str, Any], latent: Tensor) -> ExtraFrames:
        pictures = condition.get("concat_latent_image")
        if not is_a(model, "AnimateWanModel") or pictures is None or pictures.shape[2] != latent.shape[2]:
            return NO_EXTRA_FRAMES
        # The character stands before the video, and the pose video is as long as the video.
        poses = condition.get("pose_video_latent")
        reference = 1 if poses is None else latent.shape[2] - poses.shape[2]
        return ExtraFrames(before=(reference,)) if reference > 0 else NO_EXTRA_FRAMES

    def blocks(self, model: Any) -> list[BlockKey]:
        return [("double_block", i) for i in range(len(model.blocks))]

    def attention_paths(self, model: Any) -> list[str]:
        return [f"blocks.{i}.self_attn" for i in range(len(model.blocks))]

    def feed_forward_paths(self, model: Any) -> list[str]:
        return [f"blocks.{i}.ffn" for i in range(len(model.blocks))]

    def layout(self, model: Any, latent: Tensor, inputs: dict[str, Any]) -> TokenLayout:
        patch = self.patch(model)
        prefix = 0
        suffix = motion_tokens(inputs.get("reference_motion"))
        if (added_frames := inputs.get("time_dim_concat")) is not None:
            suffix += patched_tokens(added_frames, patch)
        if (reference := inputs.get("reference_latent")) is not None:
            if getattr(model, "ref_conv", None) is not None or is_a(model, "SCAILWanModel"):
                prefix += patched_tokens(reference, patch)  # fun-control has it too
            elif is_a(model, "HumoWanModel") or is_a(model, "WanModel_S2V"):
                suffix += patched_tokens(reference, patch)
        if is_a(model, "SCAILWanModel") and (pose := inputs.get("pose_latents")) is not None:
            suffix += patched_tokens(pose, patch)
        for reference in inputs.get("context_latents") or ():
            suffix += patched_tokens(reference, patch)
        return TokenLayout(prefix, patched_grid(latent, patch), suffix)


def motion_tokens(motion: Tensor | None) -> int:
    """Tokens of the video before, (B, C, T, H, W), which S2V packs ever coarser the longer ago a frame is:
    the last one in patches of 2, the two before it in one of 4, the sixteen before those in four of 8."""
    if motion is None:
        return 0
    height, width = motion.shape[-2:]
    frames_by_patch = ((1, 2), (1, 4), (4, 8))
    return sum(frames * (height // side) * (width // side) for frames, side in frames_by_patch)


class WanVace(Wan):
    """VACE: a second, shallower stack over the control video; its blocks run between those of the first."""

    name = "wan_vace"
    model_class = "VaceWanModel"

    def layers(self, model: Any) -> int:
        return len(model.blocks) + len(model.vace_blocks)

    def attention_paths(self, model: Any) -> list[str]:
        control = [f"vace_blocks.{i}.self_attn" for i in range(len(model.vace_blocks))]
        return super().attention_paths(model) + control

    def feed_forward_paths(self, model: Any) -> list[str]:
        control = [f"vace_blocks.{i}.ffn" for i in range(len(model.vace_blocks))]
        return super().feed_forward_paths(model) + control

    def extra_frames(self, model: Any, condition: dict[str, Any], latent: Tensor) -> ExtraFrames:
        controls = condition.get("vace_frames") or ()
        reference = max((reference_frames(control) for control in controls), default=0)
        return ExtraFrames(before=(reference,)) if 0 < reference < latent.shape[2] else NO_EXTRA_FRAMES

    def layer_after(self, model: Any, block: int) -> int | None:
        # Per control video one self-attention; several videos share the layer.
        number = model.vace_layers_mapping.get(block)
        return None if number is None else len(model.blocks) + number

    def published_layer(self, model: Any, options: dict[str, Any]) -> int | None:
        return None  # the second stack runs under the numbers of the first


def reference_frames(control: Tensor) -> int:
    """How many reference frames a control video of VACE, (B, 32, T, H, W), begins with.

    Its second half is what the video shows where the mask is on. A reference has nothing there: exactly zero
    in the model's space, which no encoded picture is.
    """
    shown = control[:, control.shape[1] // 2 :]
    nothing = comfy.latent_formats.Wan21().process_out(torch.zeros_like(shown[:, :, :1]))
    empty = (shown == nothing).flatten(3).all(dim=-1).all(dim=1).all(dim=0)  # (T,)
    return int(empty.int().cumprod(dim=0).sum())
