"""Kandinsky 5: one token per patch of HunyuanVideo's latent, text by cross-attention."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....s2flow_core.windows.grid import Triple
from .family import BlockKey, ModelFamily, TokenLayout, patched_grid

# The professional model counts in other steps from so many latent cells on; a token is four cells.
PRO_WIDTH, PRO_CELLS, PRO_SCALE = 4096, 14080, (1.0, 3.16, 3.16)
CELLS_PER_TOKEN = 4


class Kandinsky5(ModelFamily):
    """A start image replaces the first frame and adds no token.

    ComfyUI's wrapper around its blocks calls them with names that they do not have, so layers are known by
    the number that the model publishes.
    """

    name = "kandinsky5"
    model_class = "Kandinsky5"
    rotary = "rope_embedder_3d"
    wraps_blocks = False

    def patch(self, model: Any) -> Triple:
        frames, height, width = model.patch_size
        return (frames, height, width)

    def heads(self, model: Any) -> int:
        return model.visual_transformer_blocks[0].self_attention.num_heads

    def blocks(self, model: Any) -> list[BlockKey]:
        return [("double_block", i) for i in range(len(model.visual_transformer_blocks))]

    def attention_paths(self, model: Any) -> list[str]:
        return [
            f"visual_transformer_blocks.{i}.self_attention"
            for i in range(len(model.visual_transformer_blocks))
        ]

    def feed_forward_paths(self, model: Any) -> list[str]:
        blocks = range(len(model.visual_transformer_blocks))
        return [f"visual_transformer_blocks.{i}.feed_forward" for i in blocks]

    def layout(self, model: Any, latent: Tensor, inputs: dict[str, Any]) -> TokenLayout:
        return TokenLayout(0, patched_grid(latent, self.patch(model)))

    def position_scale(self, model: Any, grid: Triple) -> tuple[float, float, float]:
        _, height, width = grid
        if model.model_dim == PRO_WIDTH and CELLS_PER_TOKEN * height * width >= PRO_CELLS:
            return PRO_SCALE
        frames, tall, wide = model.rope_scale_factor
        return (frames, tall, wide)
