"""Finds what is no number at the step where it appears, and says where it came from.

One look at the latent per step costs a ten-thousandth of it. Only where that look finds something, the step
is computed once more with every attention layer watched.
"""

from __future__ import annotations

import logging

from torch import Tensor

from ....s2flow_core.latent.finite import all_finite
from ..attention.finite_search import search_of
from .guided_model import GuidedModel

log = logging.getLogger(__name__)

ADVICE = (
    "Often the cause is half precision: load the model in bf16 or fp32 instead of fp16 or fp8 "
    "(weight_dtype), or start ComfyUI with another attention (--use-pytorch-cross-attention). With windows, "
    "choose the backend torch_boxes or take the windows off to see whether they are the cause."
)


def check_start(x: Tensor) -> None:
    """Raises if a run would start from NaN or infinity."""
    if not all_finite(x):
        raise ValueError(
            "latent_image or noise holds NaN or infinity before the first step, so it was not this sampler. "
            "Look at the node that made them: a VAE in fp16 is the usual cause (--fp32-vae or --bf16-vae)."
        )


def check_estimate(denoised: Tensor, guided: GuidedModel, x: Tensor, i: int, sigmas: Tensor) -> None:
    """Raises if the model's answer of step i holds NaN or infinity, and names the layer where it begins.

    x: the state that the model was given. sigmas: (steps + 1,)
    """
    if all_finite(denoised):
        return
    log.warning("S²Flow: the model gave NaN or infinity at step %d; looking for the layer", i + 1)
    where = first_layer(guided, x, sigmas[i])
    raise ValueError(
        f"The model gave NaN or infinity at step {i + 1} of {len(sigmas) - 1} (sigma {float(sigmas[i]):.4g})"
        f"{where}. Nothing after this step would have been a picture, so the run stops here. {ADVICE}"
    )


def check_state(x: Tensor, i: int, steps: int) -> None:
    """Raises if a step led from numbers to none, which only the solver can do."""
    if not all_finite(x):
        raise ValueError(
            f"The state after step {i + 1} of {steps} holds NaN or infinity, although the model's answer did "
            "not. Set the order to 1 and alignment to 0, and please report this with the schedule you used."
        )


def first_layer(guided: GuidedModel, x: Tensor, sigma: Tensor) -> str:
    """Where in the model it begins, as the end of a sentence; empty where its layers are unknown."""
    search = search_of(guided.base_model.diffusion_model)
    if search is None:
        return ""
    guided.with_options(search.attach_to_forward, x).denoised(x, sigma)
    return f", {search.found}" if search.found else ""
