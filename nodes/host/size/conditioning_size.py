"""Pictures in the conditioning have the size that they were made for; the large run needs its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..families.family import is_a
from ..model.checks import diffusion_model
from .enlarge import pixels_per_cell

log = logging.getLogger(__name__)

# Names of ComfyUI's conditioning, and what an artist knows them as. With these the model fails or, with
# keyframes, puts them in the wrong place.
EXACT = {
    "vace_frames": "the control video (WanVaceToVideo)",
    "vace_mask": "the control masks (WanVaceToVideo)",
    "time_dim_concat": "the subject images (WanPhantomSubjectToVideo)",
    "camera_conditions": "the camera path (WanCameraEmbedding)",
    "pose_video_latent": "the pose video (WanAnimateToVideo)",
    "control_video": "the control video (WanSoundImageToVideo)",
    "keyframe_idxs": "the keyframes (LTXVAddGuide)",
    "minimax_keyframes": "the keyframes (MiniMaxH3ImageToVideo, MiniMaxH3AddGuide)",
    "driving_mask_28ch": "the mask of the pose video (WanSCAILToVideo)",
    "ref_mask_28ch": "the mask of the reference image (WanSCAILToVideo)",
}
# These ComfyUI resizes, or the model takes them at any size.
TOLERATED = {
    "concat_latent_image": "the start image or control video",
    "reference_latents": "the reference image",
    "ref_latent": "the reference image",
    "reference_motion": "the motion before (WanSoundImageToVideo)",
}
# Of half the video's size where a model wants it so.
HALVED = ("pose_video_latent", "driving_mask_28ch")
IN_PIXELS = ("camera_conditions", "keyframe_idxs")


def check_conditioning_size(guider: Any, size: tuple[int, int], sampler: str) -> None:
    """Raises if the guider's conditions were made for another size than that of the run, (H, W) in cells.

    Where ComfyUI would enlarge them by itself, or the model sees them small, the log says so. sampler: the
    name of the node to connect a new guider to.
    """
    cell = pixels_per_cell(None, type(guider.model_patcher.model.latent_format).__name__)
    model = diffusion_model(guider.model_patcher)
    reported = set()
    for key, value in pictures(guider):
        height, width = (side // cell if key in IN_PIXELS else side for side in picture_size(key, value))
        part = 2 if key in HALVED and is_a(model, "SCAILWanModel") else 1
        if (height, width) == tuple(side // part for side in size) or key in reported:
            continue
        height, width = part * height, part * width
        advice = (
            f"is for {width * cell}×{height * cell} pixels, but this run is at {size[1] * cell}×"
            f"{size[0] * cell}. Make the conditioning again at {size[1] * cell}×{size[0] * cell} with "
            f"the same node and connect that guider to {sampler}."
        )
        if needs_exact(model, key):
            named = EXACT.get(key) or TOLERATED[key]
            raise ValueError(f"In the guider's conditioning, {named} {advice}")
        reported.add(key)
        log.warning(
            "In the guider's conditioning, %s %s As it is, it is only enlarged.", TOLERATED[key], advice
        )


def needs_exact(model: Any, key: str) -> bool:
    """Whether the model needs the picture at its exact size.

    Fun-control counts on its reference's tokens, SCAIL makes it a frame of the video.
    """
    if key == "reference_latents":
        return getattr(model, "ref_conv", None) is not None or is_a(model, "SCAILWanModel")
    return key in EXACT


def pictures(guider: Any) -> Iterator[tuple[str, Tensor]]:
    """Every picture in a guider's conditions, whatever the guider calls them, with its key."""
    for conditions in getattr(guider, "original_conds", {}).values():
        for condition in conditions:
            for key in (*EXACT, *TOLERATED):
                values = condition.get(key)
                values = values if isinstance(values, (list, tuple)) else [values]
                # MiniMax H3 describes a keyframe by its place and its latent; one of sound alone has none.
                values = (value.get("latent") if isinstance(value, dict) else value for value in values)
                yield from ((key, value) for value in values if isinstance(value, torch.Tensor))


def picture_size(key: str, value: Tensor) -> tuple[int, int]:
    """(H, W) of a picture in its own unit; keyframes are known by the coordinates of their tokens."""
    if key == "keyframe_idxs":
        return covered(value[0, 1]), covered(value[0, 2])
    return value.shape[-2], value.shape[-1]


def covered(coordinates: Tensor) -> int:
    """Pixels up to where the last cell ends; coordinates: (tokens,) starts, or (tokens, 2) with ends.

    A token of a guide that an IC-LoRA wants smaller ends beyond its cell.
    """
    with_ends = coordinates.ndim == 2  # newer ComfyUI
    starts = (coordinates[:, 0] if with_ends else coordinates).unique()
    if len(starts) > 1:
        return int(2 * starts[-1] - starts[-2])
    return int(coordinates[:, -1].max()) if with_ends else int(starts[-1])
