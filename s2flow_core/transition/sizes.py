"""The size to go to, larger or smaller, and the memory that it takes at least."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from ..latent.resample import SAME_SHAPE

# State, noise, clean estimate, model output for both prompts, and the solver's last two velocities.
_LATENTS_ALIVE = 8
_BYTES_PER_VALUE = 4  # float32, in which samplers keep their state


class SizedVideo(Protocol):
    """Whatever has a latent shape and patches: a Trajectory, or a LatentVideo."""

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(B, C, T, H, W) of the latent, in cells."""
        ...

    @property
    def patch(self) -> tuple[int, int, int]:
        """(T, H, W) cells that the model takes as one token."""
        ...


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


def target_size(
    video: SizedVideo,
    spatial_ratio: int,
    scale: float | None = None,
    width: int | None = None,
    height: int | None = None,
) -> TargetSize:
    """The HR size for either a `scale` or a `width` and `height` in pixels.

    spatial_ratio: pixels per latent cell of the VAE. A scale is taken to the nearest size that the
    model's patches divide; a size in pixels must be valid as it is, or a ValueError names the nearest one.
    Raises ValueError too for a scale below 1, and where neither is given.
    """
    low_h, low_w = video.latent_shape[-2:]
    if scale is not None:
        latent_h, latent_w = _scaled_up(video, scale)
    elif width is not None and height is not None:
        _require_target(video, spatial_ratio, width, height)
        latent_h, latent_w = height // spatial_ratio, width // spatial_ratio
    else:
        raise ValueError("Give either a scale or both a width and a height for the high-resolution video.")
    ratio = math.sqrt(latent_h / low_h * latent_w / low_w)
    return TargetSize(latent_h, latent_w, latent_h * spatial_ratio, latent_w * spatial_ratio, ratio)


def shrunk_size(
    size: tuple[int, int],
    patch: tuple[int, int],
    pixels: int,
    scale: float | None = None,
    wanted: tuple[int, int] | None = None,
) -> tuple[int, int]:
    """The smaller latent size (h, w) in cells, for a scale or for `wanted` (height, width) in pixels.

    size, patch: (H, W) in latent cells; pixels: per cell. A scale is taken to the nearest size of whole
    patches; a size in pixels must be valid as it is, or a ValueError names the nearest one. Raises
    ValueError too for a scale that is not above 0 and at most 1.
    """
    if wanted is not None:
        return _exact_size(size, patch, pixels, wanted)
    if scale is None or not (math.isfinite(scale) and 0 < scale <= 1):
        raise ValueError(f"The scale is {scale}; it must be above 0 and at most 1 (0.5 halves each side).")
    if scale == 1:
        return size
    return _whole_patches((size[0] * scale, size[1] * scale), patch, size)


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
            f"{_gigabytes(needed)} for its latents and pixels, and this machine has "
            f"{_gigabytes(available_bytes)}. "
            "Choose a smaller scale or fewer frames."
        )


def _scaled_up(video: SizedVideo, scale: float) -> tuple[int, int]:
    """(h, w) in cells: whole patches nearest to the scaled size, never below the LR size."""
    if not (math.isfinite(scale) and scale >= 1):
        raise ValueError(
            f"The scale is {scale}; it must be a finite number of at least 1 (the paper uses 2)."
        )
    height, width = (
        max(round(side * scale / unit) * unit, side)
        for side, unit in zip(video.latent_shape[-2:], video.patch[1:], strict=True)
    )
    return height, width


def _require_target(video: SizedVideo, spatial_ratio: int, width: int, height: int) -> None:
    """Raises unless a size in pixels is whole patches, in the LR video's proportions and not below it."""
    low_h, low_w = (side * spatial_ratio for side in video.latent_shape[-2:])
    step_h, step_w = (unit * spatial_ratio for unit in video.patch[1:])
    whole_h = max(round(height / step_h) * step_h, low_h)
    whole_w = max(round(width / step_w) * step_w, low_w)
    nearest_h, nearest_w = _in_proportion((low_h, low_w), (whole_h, whole_w), (step_h, step_w))
    nearest_h = max(nearest_h, low_h)
    if (nearest_h, nearest_w) == (height, width):
        return
    if height < low_h or width < low_w:
        reason = f"is smaller than the low-resolution video ({low_w}×{low_h})"
    elif (whole_h, whole_w) == (height, width):
        reason = f"would stretch the low-resolution video, which is {low_w}×{low_h}"
    else:
        reason = f"does not fit the model, whose patches need multiples of {step_w}×{step_h} pixels"
    raise ValueError(
        f"The target size {width}×{height} {reason}. The nearest valid size is {nearest_w}×{nearest_h}."
    )


def _in_proportion(whole: tuple[int, int], size: tuple[int, int], steps: tuple[int, int]) -> tuple[int, int]:
    """A size (height, width) if it has the proportions of `whole`; else that of the same width which has.

    steps: of valid heights and widths, up to which patches may change the proportions.
    """
    fitting = (whole[0] * size[1] / whole[1], whole[1] * size[0] / whole[0])
    for side, wanted, step in zip(size, fitting, steps, strict=True):
        if abs(side - wanted) <= max(SAME_SHAPE * wanted, step):
            return size
    return max(round(fitting[0] / steps[0]), 1) * steps[0], size[1]


def _whole_patches(
    cells: tuple[float, float], patch: tuple[int, int], largest: tuple[int, int]
) -> tuple[int, int]:
    """The size (h, w) of whole patches nearest to `cells`, within the large size."""
    height, width = (
        min(max(round(side / step), 1) * step, limit // step * step or limit)
        for side, step, limit in zip(cells, patch, largest, strict=True)
    )
    return height, width


def _exact_size(
    size: tuple[int, int], patch: tuple[int, int], pixels: int, wanted: tuple[int, int]
) -> tuple[int, int]:
    """`wanted` (height, width) in pixels as cells; raises if it is no smaller size of whole patches."""
    height, width = wanted
    if wanted == (size[0] * pixels, size[1] * pixels):
        return size
    whole = _whole_patches((height / pixels, width / pixels), patch, size)
    valid = _in_proportion(size, whole, patch)
    if (valid[0] * pixels, valid[1] * pixels) == wanted:
        return valid
    reason = f"that this model can cut into patches of {patch[1] * pixels}×{patch[0] * pixels} pixels"
    if (whole[0] * pixels, whole[1] * pixels) == wanted:
        reason = "in its proportions, so it would be stretched"
    raise ValueError(
        f"A video of {size[1] * pixels}×{size[0] * pixels} would become {width}×{height}. That is no smaller "
        f"size {reason}. The nearest valid size is {valid[1] * pixels}×{valid[0] * pixels}: set it as width "
        "and height, or set both to 0 to use scale."
    )


def _gigabytes(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
