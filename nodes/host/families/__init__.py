"""The model families whose video tokens the hooks can find; every other model runs with dense attention."""

from __future__ import annotations

from typing import Any

from .family import BlockKey, ModelFamily, TokenLayout, patched_grid
from .hunyuan_video import HunyuanVideo
from .ltx_video import LtxVideo
from .unknown import UnknownVideoModel
from .wan import Wan, WanVace

__all__ = [
    "FAMILIES",
    "BlockKey",
    "ModelFamily",
    "TokenLayout",
    "UnknownVideoModel",
    "family_of",
    "patched_grid",
]

# The first that matches counts, so special cases stand before what they specialise.
FAMILIES: tuple[ModelFamily, ...] = (WanVace(), Wan(), HunyuanVideo(), LtxVideo())


def family_of(model: Any) -> ModelFamily | None:
    """The family of a diffusion model, or None."""
    return next((family for family in FAMILIES if family.matches(model)), None)
