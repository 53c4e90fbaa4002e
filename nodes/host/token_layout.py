"""Where the video tokens lie in a model family's attention calls.

Adding a family is one class here and one test: how to recognise its model, how
many layers and heads it has, and which tokens stand before and after the video.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class TokenLayout:
    """The tokens of one forward pass in the order in which attention sees them."""

    prefix: int
    grid: Triple  # (T, H, W) in tokens
    suffix: int = 0
    context_tokens: int = 0  # keys of the cross-attention; 0 where the text joins the self-attention

    @property
    def total(self) -> int:
        frames, height, width = self.grid
        return self.prefix + frames * height * width + self.suffix


class ModelFamily(Protocol):
    """What the hooks need to know about one architecture."""

    name: str

    def matches(self, model: Any) -> bool: ...

    def patch(self, model: Any) -> Triple: ...

    def layers(self, model: Any) -> int: ...

    def heads(self, model: Any) -> int: ...

    def layout(self, model: Any, latent: Tensor, inputs: dict[str, Any]) -> TokenLayout: ...

    def calls_per_layer(self, model: Any) -> int: ...


def is_a(model: Any, class_name: str) -> bool:
    """Whether a model is of a class of ComfyUI, without importing every architecture to ask."""
    return any(base.__name__ == class_name for base in type(model).__mro__)


def patched_grid(latent: Tensor, patch: Triple) -> Triple:
    """latent: (B, C, T, H, W) -> (T, H, W) in tokens; the model pads up to whole patches."""
    frames, height, width = (-(-size // step) for size, step in zip(latent.shape[-3:], patch, strict=True))
    return (frames, height, width)


class Wan:
    """Wan 2.1 and 2.2: text comes in by cross-attention, an optional reference image by leading tokens."""

    name = "wan"

    def matches(self, model: Any) -> bool:
        return is_a(model, "WanModel")

    def patch(self, model: Any) -> Triple:
        frames, height, width = model.patch_size
        return (frames, height, width)

    def layers(self, model: Any) -> int:
        return len(model.blocks)

    def heads(self, model: Any) -> int:
        return model.num_heads

    def layout(self, model: Any, latent: Tensor, inputs: dict[str, Any]) -> TokenLayout:
        patch = self.patch(model)
        prefix = 0
        reference = inputs.get("reference_latent")
        if getattr(model, "ref_conv", None) is not None and reference is not None:
            prefix = (reference.shape[-2] // patch[1]) * (reference.shape[-1] // patch[2])
        context = inputs.get("context")
        context_tokens = 0 if context is None else context.shape[1]
        return TokenLayout(prefix, patched_grid(latent, patch), context_tokens=context_tokens)

    def calls_per_layer(self, model: Any) -> int:
        return 3 if is_a(model.blocks[0].cross_attn, "WanI2VCrossAttention") else 2


FAMILIES: tuple[ModelFamily, ...] = (Wan(),)


def family_of(model: Any) -> ModelFamily | None:
    """The family of a diffusion model, or None: such a model runs with the attention it has."""
    return next((family for family in FAMILIES if family.matches(model)), None)
