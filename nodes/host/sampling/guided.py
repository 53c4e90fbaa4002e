"""Runs a guider with one of our samplers the way core's SamplerCustomAdvanced does.

Noise, latent format, conditioning, previews, progress and cancel all stay ComfyUI's. Nothing is written into
the guider or its options: hooks come with the sampler.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
from torch import Tensor

from ....s2flow_core.attention.trust import is_out_of_memory
from ..model.extra_frames import extra_frames
from .latents import latent_samples, require_finite_mask
from .part_sampler import Part, PartSampler
from .streams import VideoLatent

log = logging.getLogger(__name__)


class NoiseSource(Protocol):
    """A NOISE of ComfyUI."""

    seed: int

    def generate_noise(self, input_latent: dict[str, Any]) -> Any: ...


def sample_in_parts(parts: Sequence[Part], noise: NoiseSource, sigmas: Tensor, latent: dict[str, Any]) -> Any:
    """One run from (1-sigma)·latent + sigma·noise under its guiders in turn, with one progress bar.

    Returns the samples of a LATENT.
    """
    require_finite_mask(latent)
    samples = latent_samples(parts[0].guider, latent)
    latent = latent | {"samples": samples}
    steps = len(sigmas) - 1
    report = latent_preview.prepare_callback(parts[0].guider.model_patcher, steps)
    # Previews show a latent's first frame, which may be a reference picture.
    first = extra_frames(parts[0].guider, VideoLatent.of(samples).video).first
    result = samples

    def tell(step: int, denoised: Any, x: Any, _: int) -> None:
        report(step, from_frame(first, denoised), x, steps)

    for part in parts:
        if part.steps.stop <= part.run.position and part is not parts[-1]:
            part.run.leave_out(part.steps)
            continue
        result = around_steps_twice(part, partial(sample_part, part, noise, sigmas, latent, tell))
        part.run.require_handed(part.steps.stop)
    return result.to(comfy.model_management.intermediate_device())


def from_frame(first: int, latent: Any) -> Any:
    """(B, C, T, H, W) from a frame on; latents of other axes are left as they are."""
    return latent[:, :, first:] if first and latent.ndim == 5 else latent


def sample_part(
    part: Part, noise: NoiseSource, sigmas: Tensor, latent: dict[str, Any], tell: Callable
) -> Any:
    """The part's steps of a LATENT under its guider -> samples."""
    drawn = noise.generate_noise(latent)
    with left_as_it_was(part.guider):
        return part.guider.sample(
            drawn,
            latent["samples"],
            PartSampler(part, drawn if getattr(noise, "of_video", False) else None),
            sigmas[part.steps.start : part.steps.stop + 1],
            denoise_mask=latent.get("noise_mask"),
            callback=tell,
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=noise.seed,
        )


def around_steps_twice(part: Part, sample: Callable[[], Any]) -> Any:
    """What `sample` gives; where memory runs out before the first step or after the last, once more.

    The run knows where it stands, so nothing is computed twice. A step that does not fit has been tried twice
    already.
    """
    try:
        return sample()
    except Exception as error:
        if part.run.stepping or not is_out_of_memory(error):
            raise
        log.warning("S²Flow ran out of memory beside its steps; it frees what it can and tries once more.")
    comfy.model_management.soft_empty_cache()
    part.run.handed = part.steps.start
    return sample()


@contextmanager
def left_as_it_was(guider: Any) -> Iterator[None]:
    """After a run that was stopped, takes off the guider what its sampling had put there: it is kept in the
    graph, and would keep conditions and models with it."""
    before = dict(getattr(guider, "__dict__", {}))
    try:
        yield
    except BaseException:
        guider.__dict__.clear()
        guider.__dict__.update(before)
        raise
