"""What the hooks must know about an architecture: where its video tokens are, and which layers it has.

Adding a family is one small class like those beside this file, and one test.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

Triple = tuple[int, int, int]
BlockKey = tuple[str, int]
"""A block's name in ComfyUI's `patches_replace["dit"]`, e.g. ("double_block", 3)."""


@dataclass(frozen=True)
class TokenLayout:
    """The tokens of one forward pass in the order in which self-attention sees them."""

    prefix: int  # tokens before the video: a reference image, or text that joins the self-attention
    grid: Triple  # (T, H, W) in tokens
    suffix: int = 0

    @property
    def total(self) -> int:
        frames, height, width = self.grid
        return self.prefix + frames * height * width + self.suffix


class ModelFamily(ABC):
    """One architecture of ComfyUI, described for the model object that is at hand."""

    name: str
    model_class: ClassVar[str]  # of ComfyUI's diffusion model; subclasses count
    rotary: ClassVar[str | None] = None  # the attribute that turns positions into rotations, an EmbedND

    def matches(self, model: Any) -> bool:
        return is_a(model, self.model_class)

    @abstractmethod
    def patch(self, model: Any) -> Triple:
        """Latent cells per token, (T, H, W)."""

    @abstractmethod
    def heads(self, model: Any) -> int:
        """Attention heads of a layer."""

    @abstractmethod
    def blocks(self, model: Any) -> list[BlockKey]:
        """Every block with one self-attention over the video, in running order; the index is the layer."""

    @abstractmethod
    def attention(self, model: Any) -> Any:
        """The module that calls the first of these self-attentions."""

    @abstractmethod
    def layout(self, model: Any, latent: Tensor, inputs: dict[str, Any]) -> TokenLayout:
        """The tokens of a pass. latent: (B, C, T, H, W); inputs: the model's arguments by name."""

    def layers(self, model: Any) -> int:
        return len(self.blocks(model))

    def layer_after(self, model: Any, block: int, calls: int) -> int | None:
        """The layer of the attention call number `calls` after a block ended and before the next began.

        None for all that is not a self-attention over the video.
        """
        return None


def is_a(model: Any, class_name: str) -> bool:
    """Whether a model is of a class of ComfyUI, without importing every architecture to ask."""
    return any(base.__name__ == class_name for base in type(model).__mro__)


def patched_grid(latent: Tensor, patch: Triple) -> Triple:
    """latent: (B, C, T, H, W) -> (T, H, W) in tokens; the model pads up to whole patches."""
    frames, height, width = (-(-size // step) for size, step in zip(latent.shape[-3:], patch, strict=True))
    return (frames, height, width)


def patched_tokens(latent: Tensor, patch: Triple) -> int:
    """How many tokens a latent becomes; one without a frame axis, (B, C, H, W), is a single frame."""
    if latent.ndim == 4:
        latent = latent.unsqueeze(2)  # (B, C, 1, H, W)
    frames, height, width = patched_grid(latent, patch)
    return frames * height * width
