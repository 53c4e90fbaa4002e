"""What is said when a step does not fit into memory, however small its pieces."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import comfy.model_management
from torch import Tensor

from ....s2flow_core.attention.trust import is_out_of_memory
from ..size.enlarge import pixels_per_cell

log = logging.getLogger(__name__)

# Of the free memory: an estimate that promises all of it would be wrong half of the time.
SAFE_SHARE = 0.8


def tried_twice(compute: Callable[[], Tensor], base_model: Any, video: Tensor, at: str) -> Tensor:
    """What a step computes; where memory runs out, once more after ComfyUI has given back what it can.

    video: the state of the video (B, C, T, H, W). at: which step, in words. The second time, the error names
    the size that would have fitted; it stays one that ComfyUI knows, and frees memory at.
    """
    try:
        return compute()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        log.warning("S²Flow ran out of memory at %s; it frees what it can and tries the step once more.", at)
    comfy.model_management.soft_empty_cache()
    try:
        return compute()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        kind = comfy.model_management.OOM_EXCEPTION
        kind = RuntimeError if kind is Exception else kind
        raise kind(sentence(base_model, tuple(video.shape), video.device, at)) from error


def sentence(base_model: Any, shape: tuple[int, ...], device: Any, at: str) -> str:
    comfy.model_management.soft_empty_cache()
    cell = pixels_per_cell(None, type(base_model.latent_format).__name__)
    frames, height, width = shape[2:]
    fits = size_that_fits(base_model, shape, comfy.model_management.get_free_memory(device))
    return (
        f"Out of memory at {at} with a video of {width * cell}×{height * cell} ({frames} latent frames). "
        f"About {fits[1] * cell}×{fits[0] * cell} would have fitted, or "
        f"{max(1, frames * fits[0] * fits[1] // (height * width))} latent frames at this size. Choose that "
        "in S²Flow Upsample or the empty latent, load the model in fp8, or close other programs."
    )


def size_that_fits(base_model: Any, shape: tuple[int, ...], free: float) -> tuple[int, int]:
    """(H, W) in cells of the same shape and frames, by ComfyUI's own estimate of what a step needs.

    The estimate was too low if it says that this size fits; then it is corrected by what just happened.
    """
    needed = float(base_model.memory_required(list(shape)))
    share = SAFE_SHARE * min(free, needed) / needed if needed > 0 else SAFE_SHARE
    side = math.sqrt(share)
    height, width = (max(2, int(cells * side) // 2 * 2) for cells in shape[-2:])  # patches are 2 cells wide
    return height, width
