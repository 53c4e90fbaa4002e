"""The samples of a LATENT, and what its mask holds."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

from ....s2flow_core.latent.held_latent import HeldLatent


def latent_samples(guider: Any, latent: dict[str, Any]) -> Tensor:
    """The samples of a LATENT; an empty one takes the channels that the model wants."""
    return comfy.sample.fix_empty_latent_channels(guider.model_patcher, latent["samples"])


def held_latent(latent: dict[str, Any], samples: Tensor) -> HeldLatent | None:
    """What a LATENT's noise_mask keeps of its samples (B, C, T, H, W); None if it has no mask."""
    given = latent.get("noise_mask")
    if given is None:
        return None
    mask = comfy.utils.reshape_mask(given.float(), samples.shape)  # (B, C, T, H, W), as core reads it
    if (mask == mask[:, :1]).all():
        mask = mask[:, :1]
    return HeldLatent(samples.detach().to("cpu", torch.float32, copy=True), mask.cpu().contiguous())
