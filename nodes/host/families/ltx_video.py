"""LTX-Video: one token per latent cell, text by cross-attention."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor

from ....s2flow_core.latent.extra_frames import NO_EXTRA_FRAMES, ExtraFrames
from ....s2flow_core.windows.grid import Triple
from .family import BlockKey, ModelFamily, TokenLayout, is_a, patched_grid

PIXEL_FRAMES = 8  # of each latent frame but the first


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

    def feed_forward_paths(self, model: Any) -> list[str]:
        return [f"transformer_blocks.{i}.ff" for i in range(len(model.transformer_blocks))]

    def frames_behind(self, conditions: dict[str, Any], latent: Tensor) -> int:
        positions = conditions.get("keyframe_idxs")  # (B, 3, tokens of the guides, ...)
        if positions is None:
            return 0
        return positions.shape[2] // (latent.shape[-2] * latent.shape[-1])

    def extra_frames(self, model: Any, condition: dict[str, Any], latent: Tensor) -> ExtraFrames:
        frames = self.frames_behind(condition, latent)
        if frames == 0:
            return NO_EXTRA_FRAMES
        entries = condition.get("guide_attention_entries") or ()  # newer ComfyUI: one for each guide
        lengths = tuple(int(entry["latent_shape"][0]) for entry in entries)
        if sum(lengths) == frames:
            return ExtraFrames(behind=lengths)
        return ExtraFrames(behind=guides_of(condition["keyframe_idxs"], frames))

    def layout(self, model: Any, latent: Tensor, inputs: dict[str, Any]) -> TokenLayout:
        frames, height, width = patched_grid(latent, self.patch(model))
        behind = self.frames_behind(inputs, latent)
        return TokenLayout(0, (frames - behind, height, width), guide_tokens(latent, inputs, behind))

    def is_self_attention(self, model: Any, q: Tensor, k: Tensor, layout: TokenLayout, first: bool) -> bool:
        # Guides of a strength other than 1 are weighed by a mask. Then the block asks twice or thrice: for
        # the video, which sees all keys, and after it for the guides.
        of_video_alone = first and layout.suffix > 0 and q.shape[-2] == layout.total - layout.suffix
        return q.shape == k.shape or (of_video_alone and k.shape[-2] == layout.total)


def guides_of(positions: Tensor, frames: int) -> tuple[int, ...]:
    """The length of each guide in latent frames, from its frames' places in time.

    positions: (B, 3, tokens of `frames` frames), or with start and end (B, 3, tokens, 2); in pixels. A guide
    goes on while one frame follows the other: by one after the first of the video, by eight after others.
    """
    starts = positions[0, 0] if positions.ndim == 3 else positions[0, 0, :, 0]
    starts = starts.unflatten(0, (frames, -1))[:, 0].tolist()
    lengths = [1]
    for before, start in pairwise(starts):
        if start - before == (1 if before == 0 else PIXEL_FRAMES):
            lengths[-1] += 1
        else:
            lengths.append(1)
    return tuple(lengths)


def guide_tokens(latent: Tensor, inputs: dict[str, Any], frames: int) -> int:
    """Tokens of the guides; the model drops those of a smaller guide's gaps, whose mask is negative."""
    mask = inputs.get("denoise_mask")
    count = frames * latent.shape[-2] * latent.shape[-1]
    if mask is None or frames == 0:
        return count
    dropped = (mask[0] < 0).any(dim=0).expand(latent.shape[-3:])[-frames:]  # (frames, h, w)
    return count - int(dropped.sum())
