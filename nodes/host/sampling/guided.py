"""Runs a guider with one of our samplers the way core's SamplerCustomAdvanced does.

Noise, latent format, conditioning, previews, progress and cancel all stay
ComfyUI's. Hooks go into a copy of the guider, so the one in the graph is never touched.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
from torch import Tensor

from ..attention.hook import SelfAttentionHook
from ..model.context_windows import without_freenoise
from .latents import latent_samples
from .sampled_run import SamplerFunction


class NoiseSource(Protocol):
    """A NOISE of ComfyUI."""

    seed: int

    def generate_noise(self, input_latent: dict[str, Any]) -> Any: ...


def guider_for_run(guider: Any, hook: SelfAttentionHook | None, noise_of_video: bool = False) -> Any:
    """A guider of the same kind whose model options run through the hook.

    noise_of_video: the noise belongs to the video frame by frame, and must stay as it is.
    """
    options = without_freenoise(guider.model_options) if noise_of_video else guider.model_options
    if hook is not None:
        hook.positive = positive_conditions(guider)
        options = hook.attach(options)
    if options is guider.model_options:
        return guider
    prepared = copy.copy(guider)
    prepared.model_options = options
    return prepared


def positive_conditions(guider: Any) -> frozenset:
    """Ids of the guider's positive conditions, as they come back in the transformer options."""
    conditions = getattr(guider, "original_conds", {}).get("positive") or ()
    return frozenset(condition["uuid"] for condition in conditions if "uuid" in condition)


@dataclass(frozen=True)
class Part:
    """Steps of one run that one guider takes. sampler: runs just these, and carries its state on itself."""

    guider: Any
    steps: slice
    sampler: SamplerFunction
    hook: SelfAttentionHook | None = None


def sample_guided(
    guider: Any,
    noise: NoiseSource,
    sigmas: Tensor,
    latent: dict[str, Any],
    sampler: SamplerFunction,
    hook: SelfAttentionHook | None = None,
) -> Any:
    """Runs the sampler from (1-σ)·latent + σ·noise to the end of sigmas -> LATENT samples."""
    return sample_in_parts([Part(guider, slice(0, len(sigmas) - 1), sampler, hook)], noise, sigmas, latent)


def sample_in_parts(parts: Sequence[Part], noise: NoiseSource, sigmas: Tensor, latent: dict[str, Any]) -> Any:
    """One run under several guiders in turn, with one progress bar -> LATENT samples."""
    samples = latent_samples(parts[0].guider, latent)
    latent = latent | {"samples": samples}
    steps = len(sigmas) - 1
    report = latent_preview.prepare_callback(parts[0].guider.model_patcher, steps)
    result = samples
    for part in parts:
        result = guider_for_run(
            part.guider, part.hook, getattr(noise, "of_video", False)
        ).sample(
            noise.generate_noise(latent),  # anew, because FreeNoise writes into it
            samples,
            comfy.samplers.KSAMPLER(part.sampler),
            sigmas[part.steps.start : part.steps.stop + 1],
            denoise_mask=latent.get("noise_mask"),
            callback=lambda step, denoised, x, _: report(step, denoised, x, steps),
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=noise.seed,
        )
    return result.to(comfy.model_management.intermediate_device())
