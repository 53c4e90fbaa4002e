"""MiniMax H3: text, references, sound and video in one self-attention, the video last."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....s2flow_core.windows.grid import Triple
from .family import BlockKey, ModelFamily, TokenLayout, patched_grid


class MiniMaxH3(ModelFamily):
    """Keyframes and references stand before the sound, so all that is not video is prefix.

    Positions are divided by the root of the frame's area: a larger video spans the same range, `rotary` stays
    None. Positive and negative prompt differ in length and run in passes of their own.
    """

    name = "minimax_h3"
    model_class = "MiniMaxH3Model"
    streams = (2,)

    def patch(self, model: Any) -> Triple:
        frames, height, width = model.patch_size
        return (frames, height, width)

    def channels(self, model: Any) -> int | None:
        return model.latents_dim  # the latent format names the sound's

    def heads(self, model: Any) -> int:
        return model.blocks[0].attn.heads

    def blocks(self, model: Any) -> list[BlockKey]:
        return [("double_block", i) for i in range(len(model.blocks))]

    def attention_paths(self, model: Any) -> list[str]:
        return [f"blocks.{i}.attn" for i in range(len(model.blocks))]

    def feed_forward_paths(self, model: Any) -> list[str]:
        return [f"blocks.{i}.mlp" for i in range(len(model.blocks))]

    def layout(self, model: Any, latent: Tensor, inputs: dict[str, Any]) -> TokenLayout:
        # References and sound add to the text; how many they are follows from each call's length.
        return TokenLayout(inputs["context"].shape[1], patched_grid(latent, self.patch(model)), 0, "prefix")

    def objection(self, model: Any, video: Tensor) -> str | None:
        batch, _, frames = video.shape[:3]
        if batch != 1:
            return (
                f"holds {batch} videos, and MiniMax H3 samples one at a time. Set the batch size to 1 "
                "and run the graph once for every seed."
            )
        if frames % 5 != 2:
            below, above = frame_counts_around(frames)
            return (
                f"has {frames} latent frames, which is no length that MiniMax H3 can make: its videos have "
                f"17k+5 frames. Set length of EmptyMiniMaxH3LatentAV to {below} or {above}."
            )
        return None


def frame_counts_around(latent_frames: int) -> tuple[int, int]:
    """The nearest lengths in frames, 17k+5 for 5k+2 latent frames, below and above a length between them."""
    k = max(latent_frames - 2, 0) // 5
    return 17 * k + 5, 17 * (k + 1) + 5
