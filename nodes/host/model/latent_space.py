"""From LATENT space to the model's, where no model is at hand."""

from __future__ import annotations

import comfy.latent_formats
from torch import Tensor


def to_model_space(latent_format: str, latent: Tensor) -> Tensor:
    """What ComfyUI does to a video latent before it samples; latent_format: its class name.

    Raises ValueError for a format that is not ComfyUI's own.
    """
    known = getattr(comfy.latent_formats, latent_format, None)
    if known is None:
        raise ValueError(
            f"The mask of this run holds partly, and its latents have the format {latent_format}, which this "
            "ComfyUI does not know. Use a mask of 0 and 1 (strength 1), or a model that ComfyUI has itself."
        )
    return known().process_in(latent)
