"""Prompts that are limited to a part of the picture: the model then never sees the whole video."""

from __future__ import annotations

from typing import Any

import torch

from ....s2flow_core.windows.grid import Triple


def require_whole_video(guider: Any, size: Triple) -> None:
    """Raises if every positive prompt is limited to an area: then no pass shows all of the attention.

    size: (T, H, W) of the latent in cells.
    """
    prompts = getattr(guider, "original_conds", {}).get("positive") or ()
    if prompts and all(is_limited(prompt, size) for prompt in prompts):
        raise ValueError(
            "Every positive prompt is limited to an area of the picture, so the model never sees the whole "
            "video at once, and there is no attention to choose windows from. Add a prompt without an area "
            "(ConditioningCombine), limit the prompts by masks instead (ConditioningSetMask, set_cond_area "
            "default), or set capture_rows of the Low-Res Sampler to 0 and leave the windows out."
        )


def is_limited(prompt: dict[str, Any], size: Triple) -> bool:
    """Whether the model is called for a cut-out that is smaller than a latent of (T, H, W) cells."""
    area = prompt.get("area")
    if area is None:
        return bool(prompt.get("set_area_to_bounds")) and not fills(prompt.get("mask"))
    if area[0] == "percentage":
        area, size = area[1:], (1, 1, 1)
    axes = len(area) // 2  # lengths, then offsets, of the last axes
    lengths, offsets = area[:axes], area[axes:]
    return any(offsets) or any(length < side for length, side in zip(lengths, size[-axes:], strict=True))


def fills(mask: torch.Tensor | None) -> bool:
    """Whether the box around a mask (..., H, W) is the whole picture."""
    if mask is None:
        return True
    shown = (mask != 0).flatten(0, -3).any(dim=0) if mask.ndim > 2 else mask != 0  # (H, W)
    rows, columns = shown.any(dim=1), shown.any(dim=0)
    return bool(rows[0] and rows[-1] and columns[0] and columns[-1])
