"""Wan 2.1 and 2.2 and what was built on them: T2V, I2V, first-last-frame, VACE, camera, fun-control, HuMo."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....s2flow_core.windows.grid import Triple
from .family import BlockKey, ModelFamily, TokenLayout, is_a, patched_grid, patched_tokens


class Wan(ModelFamily):
    """Text, CLIP image tokens and audio come in by cross-attention; only reference pictures add tokens.

    The two experts of Wan 2.2 are two such models, and its 5B model differs only in its latent (48 channels).
    """

    name = "wan"
    model_class = "WanModel"
    rotary = "rope_embedder"

    def patch(self, model: Any) -> Triple:
        frames, height, width = model.patch_size
        return (frames, height, width)

    def heads(self, model: Any) -> int:
        return model.num_heads

    def blocks(self, model: Any) -> list[BlockKey]:
        return [("double_block", i) for i in range(len(model.blocks))]

    def attention_paths(self, model: Any) -> list[str]:
        return [f"blocks.{i}.self_attn" for i in range(len(model.blocks))]

    def layout(self, model: Any, latent: Tensor, inputs: dict[str, Any]) -> TokenLayout:
        patch = self.patch(model)
        prefix = suffix = 0
        if (added_frames := inputs.get("time_dim_concat")) is not None:
            suffix += patched_tokens(added_frames, patch)
        if (reference := inputs.get("reference_latent")) is not None:
            if getattr(model, "ref_conv", None) is not None:
                prefix += patched_tokens(reference, patch)  # fun-control
            elif is_a(model, "HumoWanModel") or is_a(model, "WanModel_S2V"):
                suffix += patched_tokens(reference, patch)
        for reference in inputs.get("context_latents") or ():
            suffix += patched_tokens(reference, patch)
        return TokenLayout(prefix, patched_grid(latent, patch), suffix)


class WanVace(Wan):
    """VACE: a second, shallower stack over the control video; its blocks run between those of the first."""

    name = "wan_vace"
    model_class = "VaceWanModel"

    def layers(self, model: Any) -> int:
        return len(model.blocks) + len(model.vace_blocks)

    def attention_paths(self, model: Any) -> list[str]:
        control = [f"vace_blocks.{i}.self_attn" for i in range(len(model.vace_blocks))]
        return super().attention_paths(model) + control

    def layer_after(self, model: Any, block: int) -> int | None:
        # Per control video one self-attention; several videos share the layer.
        number = model.vace_layers_mapping.get(block)
        return None if number is None else len(model.blocks) + number

    def published_layer(self, model: Any, options: dict[str, Any]) -> int | None:
        return None  # the second stack runs under the numbers of the first
