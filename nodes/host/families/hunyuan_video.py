"""HunyuanVideo 1.0 and 1.5: text and video attend to each other in one self-attention."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....s2flow_core.windows.grid import Triple
from .family import BlockKey, ModelFamily, TokenLayout, patched_grid, patched_tokens


class HunyuanVideo(ModelFamily):
    """Double blocks, then single ones; a reference latent stands right before the video.

    ComfyUI put the text after the video up to 0.3 and puts it before the video since; `flipped_img_txt` of a
    double block tells which. Image-to-video by token replacement changes no token, by concatenation only the
    channels.
    """

    name = "hunyuan_video"
    model_class = "HunyuanVideo"
    rotary = "pe_embedder"

    def matches(self, model: Any) -> bool:
        return super().matches(model) and len(model.patch_size) == 3  # HunyuanImage is the same class in 2D

    def patch(self, model: Any) -> Triple:
        frames, height, width = model.patch_size
        return (frames, height, width)

    def heads(self, model: Any) -> int:
        return model.num_heads

    def blocks(self, model: Any) -> list[BlockKey]:
        double = [("double_block", i) for i in range(len(model.double_blocks))]
        return double + [("single_block", i) for i in range(len(model.single_blocks))]

    def attention_paths(self, model: Any) -> list[str]:
        double = [f"double_blocks.{i}" for i in range(len(model.double_blocks))]
        return double + [f"single_blocks.{i}" for i in range(len(model.single_blocks))]

    def feed_forward_paths(self, model: Any) -> list[str]:
        # The single blocks of HunyuanVideo 1.0 compute theirs with q, k and v in one matrix.
        return [f"double_blocks.{i}.img_mlp" for i in range(len(model.double_blocks))]

    def layout(self, model: Any, latent: Tensor, inputs: dict[str, Any]) -> TokenLayout:
        patch = self.patch(model)
        grid = patched_grid(latent, patch)
        text = inputs["context"].shape[1]
        if getattr(model, "byt5_in", None) is not None and (glyphs := inputs.get("txt_byt5")) is not None:
            text += glyphs.shape[1]
        if (vision := inputs.get("clip_fea")) is not None:
            text += vision.shape[1]
        reference = inputs.get("ref_latent")
        before = 0 if reference is None else patched_tokens(reference, patch)
        if text_comes_last(model):
            return TokenLayout(before, grid, text, "suffix")
        return TokenLayout(text + before, grid, 0, "prefix")


def text_comes_last(model: Any) -> bool:
    """Whether this ComfyUI puts the text after the video."""
    return bool(model.double_blocks) and getattr(model.double_blocks[0], "flipped_img_txt", False)
