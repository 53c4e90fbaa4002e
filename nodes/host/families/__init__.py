"""The model families whose video tokens the hooks can find; every other model runs with dense attention."""

from __future__ import annotations

from typing import Any

from .family import BlockKey, ModelFamily, TokenLayout, patched_grid
from .hunyuan_video import HunyuanVideo
from .kandinsky5 import Kandinsky5
from .ltx_audio_video import LtxAudioVideo
from .ltx_video import LtxVideo
from .minimax_h3 import MiniMaxH3
from .unknown import UnknownVideoModel
from .wan import Wan, WanVace

__all__ = [
    "FAMILIES",
    "BlockKey",
    "ModelFamily",
    "TokenLayout",
    "UnknownVideoModel",
    "any_family",
    "family_of",
    "patched_grid",
]

# The first that matches counts, so special cases stand before what they specialise.
FAMILIES: tuple[ModelFamily, ...] = (
    WanVace(),
    Wan(),
    HunyuanVideo(),
    LtxVideo(),
    LtxAudioVideo(),
    MiniMaxH3(),
    Kandinsky5(),
)


def family_of(model: Any) -> ModelFamily | None:
    """The family of a diffusion model, or None."""
    return next((family for family in FAMILIES if family.matches(model)), None)


def any_family(model: Any) -> ModelFamily:
    """The family of a diffusion model; of one that is unknown, what holds for any video model."""
    return family_of(model) or UnknownVideoModel(model)
