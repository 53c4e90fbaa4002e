"""Which frames of a latent are no video, from a guider's conditions."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor

from ....s2flow_core.latent.extra_frames import NO_EXTRA_FRAMES, ExtraFrames
from ..families import any_family
from .checks import diffusion_model

log = logging.getLogger(__name__)


def extra_frames(guider: Any, samples: Tensor) -> ExtraFrames:
    """References and guides in (B, C, T, H, W), as far as the guider's conditions tell of them.

    Negative prompts may lack the pictures that the positive one has, so the one that tells of most counts.
    """
    model = diffusion_model(guider.model_patcher)
    family = any_family(model)
    conditions = [c for given in getattr(guider, "original_conds", {}).values() for c in given]
    found = [family.extra_frames(model, condition, samples) for condition in conditions]
    return max(found, key=lambda extra: sum(extra.before) + sum(extra.behind), default=NO_EXTRA_FRAMES)


def known_or_trimmed(known: ExtraFrames, trim: int | None, frames: int) -> ExtraFrames:
    """What is known of a latent's frames, with trim_latent, where it is connected, in place of its start.

    frames: of the latent. Raises ValueError if no video is left.
    """
    extra = known.trimmed_at(trim)
    extra.check(frames)
    if extra != known:
        log.info(
            "S²Flow: trim_latent takes %d frame(s) at the start of the latent for references, the prompts "
            "name %d there; trim_latent counts.",
            extra.first,
            known.first,
        )
    return extra
