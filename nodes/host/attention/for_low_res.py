"""What the attention of a small run goes through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..families.family import ModelFamily
from ..model.areas import require_whole_video
from ..model.checks import diffusion_model, require_family
from .capture import AttentionCapture
from .for_gpus import hook_for_gpus, share_attention
from .hook import SelfAttentionHook
from .video_grid import video_grid


@dataclass(frozen=True)
class CaptureSettings:
    """What a small run measures of its attention.

    layers: those that S²Flow can see. rows: of every head, 0 measures nothing. with_error: also what each
    window would change in the output.
    """

    layers: int
    rows: int
    with_error: bool


def hook_for_small_run(
    guider: Any, samples: Tensor, family: ModelFamily, capture: CaptureSettings, gpus: int
) -> SelfAttentionHook | None:
    """What measures a model's attention, or only lets several GPUs share it; None if nothing is asked for."""
    patcher = guider.model_patcher
    model = diffusion_model(patcher)
    if not capture.rows or not capture.layers:
        return hook_for_gpus(patcher, gpus)
    require_family(patcher, "set capture_rows to 0 and mute S²Flow Window Mask")
    require_whole_video(guider, (samples.shape[-3], samples.shape[-2], samples.shape[-1]))
    hook = AttentionCapture(
        family, model, video_grid(guider, samples, family), capture.rows, capture.with_error
    )
    share_attention(hook, gpus)
    return hook
