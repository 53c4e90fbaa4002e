"""LTX-Video: one token per latent cell, text by cross-attention."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....s2flow_core.windows.grid import Triple
from .family import BlockKey, ModelFamily, TokenLayout, is_a, patched_grid


class LtxVideo(ModelFamily):
    """Guides (LTXVAddGuide) are latent frames behind the video's: they are seen by all and see everything.

    Its positions are real coordinates (seconds, pixels) instead of token numbers; `rotary` stays None.
    """

    name = "ltx_video"
    model_class = "LTXVModel"

    def matches(self, model: Any) -> bool:
        return super().matches(model) and not is_a(model, "LTXAVModel")  # sound and picture in one latent

    def patch(self, model: Any) -> Triple:
        frames, height, width = model.patchifier.patch_size
        return (frames, height, width)

    def heads(self, model: Any) -> int:
        return model.transformer_blocks[0].attn1.heads

    def blocks(self, model: Any) -> list[BlockKey]:
        return [("double_block", i) for i in range(len(model.transformer_blocks))]

    def attention_paths(self, model: Any) -> list[str]:
        return [f"transformer_blocks.{i}.attn1" for i in range(len(model.transformer_blocks))]

    def frames_behind(self, conditions: dict[str, Any], latent: Tensor) -> int:
        positions = conditions.get("keyframe_idxs")  # (B, 3, tokens of the guides, ...)
        if positions is None:
            return 0
        return positions.shape[2] // (latent.shape[-2] * latent.shape[-1])

    def layout(self, model: Any, latent: Tensor, inputs: dict[str, Any]) -> TokenLayout:
        frames, height, width = patched_grid(latent, self.patch(model))
        behind = self.frames_behind(inputs, latent)
        return TokenLayout(0, (frames - behind, height, width), guide_tokens(latent, inputs, behind))

    def is_self_attention(self, model: Any, q: Tensor, k: Tensor, layout: TokenLayout, first: bool) -> bool:
        # Guides of a strength other than 1 are weighed by a mask. Then the block asks twice or thrice: for
        # the video, which sees all keys, and after it for the guides.
        of_video_alone = first and layout.suffix > 0 and q.shape[-2] == layout.total - layout.suffix
        return q.shape == k.shape or (of_video_alone and k.shape[-2] == layout.total)


def guide_tokens(latent: Tensor, inputs: dict[str, Any], frames: int) -> int:
    """Tokens of the guides; the model drops those of a smaller guide's gaps, whose mask is negative."""
    mask = inputs.get("denoise_mask")
    count = frames * latent.shape[-2] * latent.shape[-1]
    if mask is None or frames == 0:
        return count
    dropped = (mask[0] < 0).any(dim=0).expand(latent.shape[-3:])[-frames:]  # (frames, h, w)
    return count - int(dropped.sum())
