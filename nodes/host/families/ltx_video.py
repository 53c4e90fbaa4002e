"""LTX-Video: one token per latent cell, text by cross-attention."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....s2flow_core.windows.grid import Triple
from .family import BlockKey, ModelFamily, TokenLayout, is_a, patched_grid


class LtxVideo(ModelFamily):
    """Keyframes are appended to the latent as frames, so they are part of the grid.

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

    def layout(self, model: Any, latent: Tensor, inputs: dict[str, Any]) -> TokenLayout:
        return TokenLayout(0, patched_grid(latent, self.patch(model)))
