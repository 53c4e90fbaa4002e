"""What the hooks must know about an architecture: where its video tokens are, and which layers it has.

Adding a family is one small class like those beside this file, and one test.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from torch import Tensor

from ....s2flow_core.latent.extra_frames import NO_EXTRA_FRAMES, ExtraFrames
from ....s2flow_core.windows.grid import Triple

BlockKey = tuple[str, int]
"""A block's name in ComfyUI's `patches_replace["dit"]`, e.g. ("double_block", 3)."""


@dataclass(frozen=True)
class TokenLayout:
    """The tokens of one forward pass in the order in which self-attention sees them."""

    prefix: int  # tokens before the video: a reference image, or text that joins the self-attention
    grid: Triple  # (T, H, W) in tokens
    suffix: int = 0
    # Where text joins the self-attention; packs for negative guidance pass another prompt there.
    text: Literal["prefix", "suffix"] | None = field(default=None, compare=False)

    @property
    def video(self) -> int:
        frames, height, width = self.grid
        return frames * height * width

    @property
    def total(self) -> int:
        return self.prefix + self.video + self.suffix

    def with_total(self, tokens: int) -> TokenLayout | None:
        """This layout with as much text as makes so many tokens; None if no text can."""
        if tokens == self.total:
            return self
        if self.text is None:
            return None
        around = getattr(self, self.text) + tokens - self.total
        return replace(self, **{self.text: around}) if around >= 0 else None


class ModelFamily(ABC):
    """One architecture of ComfyUI, described for the model object that is at hand."""

    name: str
    model_class: ClassVar[str]  # of ComfyUI's diffusion model; subclasses count
    rotary: ClassVar[str | None] = None  # the attribute that turns positions into rotations, an EmbedND
    streams: ClassVar[tuple[int, ...]] = (1,)  # how many a latent may hold: 1 is the video, 2 adds sound
    wraps_blocks: ClassVar[bool] = True  # False: ComfyUI's `patches_replace` of this model cannot be called

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
    def attention_paths(self, model: Any) -> list[str]:
        """Where in the model the modules are that call these self-attentions, e.g. "blocks.3.self_attn"."""

    def feed_forward_paths(self, model: Any) -> list[str]:
        """Where the modules are that treat every video token by itself, e.g. "blocks.3.ffn"; each takes and
        gives (..., tokens, channels). Empty where a model has none that stand alone."""
        return []

    @abstractmethod
    def layout(self, model: Any, latent: Tensor, inputs: dict[str, Any]) -> TokenLayout:
        """The tokens of a pass. latent: the video (B, C, T, H, W); inputs: the model's arguments by name."""

    def channels(self, model: Any) -> int | None:
        """Channels of the video's latent where ComfyUI's latent format names those of another stream."""
        return None

    def objection(self, model: Any, video: Tensor) -> str | None:
        """Why this model cannot sample a video latent (B, C, T, H, W) of this shape; None if it can."""
        return None

    def position_scale(self, model: Any, grid: Triple) -> tuple[float, float, float]:
        """By what the model itself divides the numbers of a grid's tokens, per axis."""
        return (1.0, 1.0, 1.0)

    def frames_behind(self, conditions: dict[str, Any], latent: Tensor) -> int:
        """Latent frames at the end of (B, C, T, H, W) that are no video: guides.

        conditions: one of the guider's, or the model's arguments by name.
        """
        return 0

    def extra_frames(self, model: Any, condition: dict[str, Any], latent: Tensor) -> ExtraFrames:
        """Which frames of (B, C, T, H, W) are references or guides, by one of the guider's conditions.

        What no condition tells is an input of the nodes: trim_latent.
        """
        return NO_EXTRA_FRAMES

    def is_self_attention(self, model: Any, q: Tensor, k: Tensor, layout: TokenLayout, first: bool) -> bool:
        """Whether a call may be a self-attention over the video.

        q, k: (..., tokens, channels); first: since the block began.
        """
        return q.shape == k.shape

    def layers(self, model: Any) -> int:
        return len(self.blocks(model))

    def layer_after(self, model: Any, block: int) -> int | None:
        """The layer of a self-attention that runs between a block and the next; None if there is none."""
        return None

    def published_layer(self, model: Any, options: dict[str, Any]) -> int | None:
        """The layer of the block that the model itself says is running; None where it does not say.

        options: the call's transformer options. HunyuanVideo writes them in all versions, Wan in later ones.
        """
        published = (f"{options.get('block_type')}_block", options.get("block_index"))
        return next((layer for layer, key in enumerate(self.blocks(model)) if key == published), None)


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
