"""Core's context windows: the model sees a long video in slices of a few frames, one call after the other.

Attention then never reaches beyond a slice, so it is measured and windowed on the slice's tokens; all slices
share the windows of their layer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from ....s2flow_core.windows.grid import Triple
from ..families.family import TokenLayout, patched_grid

HANDLER = "context_handler"
TIME = 2  # the axis of frames in (B, C, T, H, W)


def grid_per_pass(model_options: dict[str, Any], samples: Tensor, patch: Triple) -> Triple:
    """(T, H, W) tokens of the video that one call of the model sees; samples: (B, C, T, H, W).

    Raises if the slices are cut along another axis than time.
    """
    handler = model_options.get(HANDLER)
    axis, length = getattr(handler, "dim", None), getattr(handler, "context_length", None)
    if axis is not None and length is not None and samples.shape[axis] > length:
        if axis != TIME:
            raise ValueError(
                f"The context windows of this model cut the video along axis {axis}, and S²Flow's windows "
                f"need whole frames. Set dim to {TIME} (time), or go on without windows: capture_rows 0 in "
                "the Low-Res Sampler."
            )
        samples = samples[:, :, :length]
    return patched_grid(samples, patch)


def frames_of_slice(options: dict[str, Any]) -> tuple[int, ...] | None:
    """The frames of the slice that a call sees, from its transformer options; None for the whole video."""
    frames = getattr(options.get("context_window"), "index_list", None)
    return None if frames is None else tuple(frames)


def without_lent_frame(layout: TokenLayout, patch: Triple, options: dict[str, Any]) -> TokenLayout:
    """The layout of a slice without the frame that core only lends to it and takes off its result again.

    That of `causal_window_fix` stands before the slice. Guide frames behind it are no part of the grid
    anyway. patch: latent cells per token.
    """
    anchor = getattr(options.get("context_window"), "causal_anchor_index", None)
    if patch[0] != 1 or anchor is None or anchor < 0:
        return layout
    frames, height, width = layout.grid
    return replace(layout, prefix=layout.prefix + height * width, grid=(frames - 1, height, width))
