"""Tiny checkpoints of models that make picture and sound together; newer versions of ComfyUI have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tiny_variant import Size, Variant
from torch import Tensor


def sound(*shape: int) -> Callable[[int, Size], dict[str, Any]]:
    """An empty LATENT of a video and of sound (1, *shape)."""

    def empty(channels: int, size: Size) -> dict[str, Any]:
        from comfy.nested_tensor import NestedTensor

        return {"samples": NestedTensor((torch.zeros(1, channels, *size), torch.zeros(1, *shape)))}

    return empty


@dataclass(frozen=True)
class AudioVideo(Variant):
    """text_lengths: of the positive and the negative prompt. passes: of the model in a step.

    config: what the checkpoint's metadata say of the network.
    """

    text_lengths: tuple[int, int] = (6, 6)
    passes: int = 1
    config: dict[str, Any] | None = field(default=None, kw_only=True)

    def load(self, folder: Path, **options: Any) -> Any:
        """Core's loader from tensors and metadata; nothing goes over the disk."""
        import comfy.sd

        return comfy.sd.load_diffusion_model_state_dict(
            self.weights(), model_options=options, metadata=self.metadata()
        )

    def metadata(self) -> dict[str, str]:
        return {} if self.config is None else {"config": json.dumps({"transformer": self.config})}

    def guider(self, model: Any, size: Size, guidance: float | None = None) -> Any:
        import comfy.samplers

        guider = comfy.samplers.CFGGuider(model)
        extras = self.conditions(size)
        texts = [self.text_of(seed, n) for seed, n in zip((11, 12), self.text_lengths, strict=True)]
        guider.set_conds(*([[text, dict(extras)]] for text in texts))
        guider.set_cfg(self.guidance if guidance is None else guidance)
        return guider

    def text_of(self, seed: int, tokens: int) -> Tensor:
        return torch.randn(1, tokens, self.text_width, generator=torch.Generator().manual_seed(seed))
