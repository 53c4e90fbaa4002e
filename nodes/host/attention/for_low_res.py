"""What the attention of a small run goes through."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..families.family import ModelFamily
from ..model.areas import require_whole_video
from ..model.checks import diffusion_model, require_family
from .capture import AttentionCapture
from .for_gpus import hook_for_gpus, share_attention
from .hook import SelfAttentionHook
from .video_grid import video_grid


def hook_for_small_run(
    guider: Any, samples: Tensor, family: ModelFamily, capture: tuple[int, bool], gpus: int
) -> SelfAttentionHook | None:
    """What measures a model's attention, or only lets several GPUs share it; None if nothing is asked for.

    capture: the number of rows, 0 for none, and whether their output error is measured as well.
    """
    rows, with_error = capture
    patcher = guider.model_patcher
    model = diffusion_model(patcher)
    if not rows or not family.layers(model):
        return hook_for_gpus(patcher, gpus)
    require_family(patcher, "set capture_rows to 0 and leave the windows out")
    require_whole_video(guider, (samples.shape[-3], samples.shape[-2], samples.shape[-1]))
    hook = AttentionCapture(family, model, video_grid(guider, samples, family), rows, with_error)
    share_attention(hook, gpus)
    return hook
