"""The tokens of a video as a model's attention sees them, asked before the run."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....s2flow_core.windows.grid import Triple
from ..families.family import ModelFamily
from ..model.checks import diffusion_model
from ..model.context_windows import grid_per_pass


def video_grid(guider: Any, samples: Tensor, family: ModelFamily) -> Triple:
    """(T, H, W) tokens of the video that one call sees, without what the conditions put behind it.

    samples: (B, C, T, H, W), of which guides are the last frames.
    """
    conditions = [c for given in getattr(guider, "original_conds", {}).values() for c in given]
    behind = max((family.frames_behind(condition, samples) for condition in conditions), default=0)
    video = samples[:, :, : samples.shape[2] - behind]
    return grid_per_pass(guider.model_options, video, family.patch(diffusion_model(guider.model_patcher)))
