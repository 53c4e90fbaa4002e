"""From LR to HR: the clean estimate, the σ that are left, and the size to go to.

A switch of size is always the triple (clean LATENT, SIGMAS, NOISE); the state `(1-σ)·latent + σ·noise` is
formed by the sampler that takes over. The paper (Eq. 5) decodes the noisy state itself, which no VAE has
been trained for; decoding the clean estimate and noising again is the same step without that fault.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from .flow import snr_matched_sigma
from .resample import check_finite
from .trajectory import Trajectory

SNR_MODES = ("literal", "snr_matched")
CLEAN_SOURCES = ("step", "final")

# State, noise, clean estimate, model output for both prompts, and the solver's last two velocities.
_LATENTS_ALIVE = 8
_BYTES_PER_VALUE = 4
# Schedules are float32; the closest steps of a real one are a hundred times further apart.
_SAME_SIGMA = 1e-5


class SizedVideo(Protocol):
    """Whatever has a latent shape and patches: a Trajectory, or a LatentVideo."""

    @property
    def latent_shape(self) -> tuple[int, ...]: ...

    @property
    def patch(self) -> tuple[int, int, int]: ...


@dataclass(frozen=True)
class LatentVideo:
    """A latent (B, C, T, H, W) on its own, with the patches of the model that takes it over."""

    latent_shape: tuple[int, ...]
    patch: tuple[int, int, int]


@dataclass(frozen=True)
class TargetSize:
    """A size that the model, its patches and the VAE agree on."""

    latent_height: int
    latent_width: int
    height: int  # pixels
    width: int  # pixels
    scale: float  # geometric mean of the two axes' ratios to LR

    @property
    def latent_hw(self) -> tuple[int, int]:
        """(H, W) of the latent."""
        return self.latent_height, self.latent_width


def check_steps_left(steps: int, steps_left: int) -> None:
    """Raise a ValueError unless 1 <= steps_left <= steps."""
    if not 1 <= steps_left <= steps:
        raise ValueError(
            f"t_i (steps left for high resolution) is {steps_left}, but the LR run recorded {steps} steps. "
            f"Choose 1 to {steps}; the paper leaves 30 of 50."
        )


def tail_sigmas(sigmas: Tensor, steps_left: int, snr: str = "literal", scale: float = 1.0) -> Tensor:
    """The σ of the last `steps_left` steps, (steps_left+1,).

    snr "literal": the same σ as at LR (the paper). "snr_matched": σ̃ = sσ/(1+(s-1)σ), so that the coarse
    part of the HR state is exactly as noisy as the LR state was; `scale` is the linear size ratio s.
    """
    check_steps_left(len(sigmas) - 1, steps_left)
    tail = sigmas[len(sigmas) - 1 - steps_left :]
    if snr == "literal":
        return tail.clone()
    if snr == "snr_matched":
        return snr_matched_sigma(tail, scale)
    raise ValueError(f"Unknown SNR mode '{snr}'; choose one of {', '.join(SNR_MODES)}.")


def recorded_scale(sigmas: Tensor, record: Tensor, scale: float) -> float:
    """The `snr_scale` at which HR sigmas meet the LR record: `scale` if they were matched to it, else 1.

    sigmas: (n+1,) of the HR run; record: (N+1,) of the LR run. Sigmas that fit neither way are
    interpolated in the record as they are.
    """

    def meets(candidates: Tensor) -> bool:
        distance = (sigmas[:-1, None] - candidates[None, :-1]).abs().amin(dim=1)
        return bool((distance < _SAME_SIGMA).all())

    record, sigmas = record.float().cpu(), sigmas.float().cpu()
    matched = not meets(record) and meets(snr_matched_sigma(record, scale))
    return scale if matched else 1.0


def require_recorded_steps(sigmas: Tensor, record: Tensor, scale: float) -> None:
    """Raise a ValueError unless every HR step answers to one LR step.

    sigmas: (n+1,) of the HR run, which must be the last n steps of the LR run's record (N+1,), as they
    are or matched to `scale`.
    """
    steps_left = len(sigmas) - 1
    for snr in SNR_MODES if steps_left < len(record) else ():
        recorded = tail_sigmas(record.float().cpu(), steps_left, snr, scale)
        if (recorded - sigmas.float().cpu()).abs().max() < _SAME_SIGMA:
            return
    raise ValueError(
        f"The {steps_left} steps of the High-Res Sampler are not the last steps of the trajectory, so it "
        "cannot say what happens in them. Connect the sigmas of S²Flow Upsample, or set skip_share and "
        "alignment to 0."
    )


def clean_estimate(trajectory: Trajectory, steps_left: int, source: str = "step") -> Tensor:
    """LATENT-space clean estimate (B, C, T, H, W), float32, from which HR starts; what a mask held as given.

    source "step": D of the LR step whose σ the HR run starts at (the paper's point of the path).
    "final": the finished LR video, sharper, and what the artist has seen in the preview.
    """
    check_steps_left(trajectory.steps, steps_left)
    if source == "final":
        clean, name = trajectory.final, "The LR run's final latent"
    elif source == "step":
        index = trajectory.steps - steps_left
        clean, name = trajectory.denoised[index], f"The clean estimate of LR step {index + 1}"
    else:
        raise ValueError(f"Unknown clean estimate '{source}'; choose one of {', '.join(CLEAN_SOURCES)}.")
    check_finite(clean, name)
    clean = clean.float()
    return clean if trajectory.held is None else trajectory.held.laid_over(clean)


def step_noise(trajectory: Trajectory, steps_left: int) -> Tensor:
    """Noise (B, C, T, H, W), float32 in model space, that the LR state held at the step HR starts from."""
    check_steps_left(trajectory.steps, steps_left)
    index = trajectory.steps - steps_left
    noise = trajectory.noise[index]
    check_finite(noise, f"The noise estimate of LR step {index + 1}")
    return noise.float()


def target_size(
    video: SizedVideo,
    spatial_ratio: int,
    scale: float | None = None,
    width: int | None = None,
    height: int | None = None,
) -> TargetSize:
    """The HR size for either a `scale` or a `width` and `height` in pixels.

    spatial_ratio: pixels per latent cell of the VAE. A scale is taken to the nearest size that the
    model's patches divide; a size in pixels must be valid as it is, or the error names the nearest one.
    """
    low_h, low_w = video.latent_shape[-2:]
    unit_h, unit_w = video.patch[1], video.patch[2]
    if scale is not None:
        if not (math.isfinite(scale) and scale >= 1):
            raise ValueError(
                f"The scale is {scale}; it must be a finite number of at least 1 (the paper uses 2)."
            )
        latent_h = max(round(low_h * scale / unit_h) * unit_h, low_h)
        latent_w = max(round(low_w * scale / unit_w) * unit_w, low_w)
    elif width is not None and height is not None:
        step_h, step_w = unit_h * spatial_ratio, unit_w * spatial_ratio
        least_h, least_w = low_h * spatial_ratio, low_w * spatial_ratio
        nearest_h = max(round(height / step_h) * step_h, least_h)
        nearest_w = max(round(width / step_w) * step_w, least_w)
        if (nearest_h, nearest_w) != (height, width):
            smaller = height < least_h or width < least_w
            reason = (
                f"is smaller than the low-resolution video ({least_w}×{least_h})"
                if smaller
                else f"does not fit the model, whose patches need multiples of {step_w}×{step_h} pixels"
            )
            raise ValueError(
                f"The target size {width}×{height} {reason}. "
                f"The nearest valid size is {nearest_w}×{nearest_h}."
            )
        latent_h, latent_w = height // spatial_ratio, width // spatial_ratio
    else:
        raise ValueError("Give either a scale or both a width and a height for the high-resolution video.")
    ratio = math.sqrt(latent_h / low_h * latent_w / low_w)
    return TargetSize(latent_h, latent_w, latent_h * spatial_ratio, latent_w * spatial_ratio, ratio)


def memory_needed(video: SizedVideo, size: TargetSize, pixel_frames: int = 0) -> int:
    """Bytes that latents alone (and `pixel_frames` decoded frames, before and after resizing) will take.

    The model and its activations come on top, so this is a floor: what exceeds it cannot work.
    """
    batch, channels, frames = video.latent_shape[:3]
    latents = batch * channels * frames * size.latent_height * size.latent_width * _LATENTS_ALIVE
    pixels = 2 * batch * pixel_frames * 3 * size.height * size.width
    return (latents + pixels) * _BYTES_PER_VALUE


def check_memory(video: SizedVideo, size: TargetSize, available_bytes: int, pixel_frames: int = 0) -> None:
    """Raise a ValueError if the target cannot fit into `available_bytes` even without the model."""
    needed = memory_needed(video, size, pixel_frames)
    if needed > available_bytes:
        raise ValueError(
            f"A {size.width}×{size.height} video (scale {size.scale:.3g}) needs at least "
            f"{_gigabytes(needed)} for its latents, and {_gigabytes(available_bytes)} are free. "
            "Choose a smaller scale or fewer frames."
        )


def _gigabytes(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
