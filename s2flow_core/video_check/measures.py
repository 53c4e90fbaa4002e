"""Figures that go with what the eye sees as a fault: pulses, repetition, seams, drift, frozen motion.

Each is measured in the large video and, where that has a meaning, in the small one as well: waves repeat and
water flickers in a good video too, so only what the large video adds is a fault.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool1d, avg_pool2d, interpolate, max_pool1d

_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, Rec. 601
_CELLS = 16  # along the shorter side, for what is slow in space
_SIDE = 8  # pixels on either side of a line, over which texture is averaged out
_LOOKED_AT = 8  # frames, spread over the video, in which repetition is looked for
_FAINT = 1 / 255  # one level of an 8-bit picture; less than that nobody sees
# A seam is one line, stripes of a texture are many: alike within these factors, as soft and as sharp steps.
_MOST_LINES, _SOFT_AS_USUAL, _SHARP_AS_USUAL = 0.9, 2.2, 1.0
_PARTS = 8  # of a line's length
# What sharpening adds at a line of the small video: shares of that line's step, and how far around it, in
# pixels of the small video.
_SOFT_SHARPENED, _SHARP_SHARPENED, _RINGING = 0.25, 1.5, 3
_ROOM = 0.1  # a small video that nearly repeats itself leaves little to tell repetition by


@dataclass(frozen=True)
class Measures:
    """Of a large video against the small one that it was made from.

    pulse: largest jump of the whole picture's brightness, 0...1, beyond the small video's. flicker: of cells
    of the picture, likewise. repetition: correlation with itself, shifted by the training size, as a share of
    what the small video's own leaves to 1. seam: step of brightness across the worst straight line, 0...1,
    that the small video lacks, beyond the steps of most lines.
    likeness: PSNR in dB of the shrunk video to the small one. motion: change from frame to frame over the
    small video's. detail: energy that the small video cannot show, over that of the small video enlarged;
    None where both have one size.
    """

    pulse: float
    flicker: float
    repetition: float
    seam: float
    likeness: float
    motion: float
    detail: float | None


MEASURES = len(fields(Measures))
T = TypeVar("T")


def measure(large: Tensor, small: Tensor, step_done: Callable[[], None] = lambda: None) -> Measures:
    """large: (frames, H, W, 3) in 0...1; small: (frames, h, w, 3), no larger.

    step_done: called after each of MEASURES parts, which at 4K take seconds each. Raises ValueError for other
    frame counts or fewer than three frames, and where small is the larger one.
    """
    if large.shape[0] != small.shape[0]:
        raise ValueError(f"The videos have {large.shape[0]} and {small.shape[0]} frames.")
    if large.shape[0] < 3:
        raise ValueError(
            f"{large.shape[0]} frame(s) are no video to check: connect the decoded frames of both videos."
        )
    if small.shape[1] > large.shape[1] or small.shape[2] > large.shape[2]:
        raise ValueError(
            f"The small video is {small.shape[2]}×{small.shape[1]}, larger than the large one with "
            f"{large.shape[2]}×{large.shape[1]}."
        )
    size = (small.shape[1], small.shape[2])
    small = small[..., :3]
    grey, small_grey = luminance(large), luminance(small)  # (frames, H, W), (frames, h, w)
    shrunk = resized(large, size)
    # One stray line in the small video is blurred over several of the large one.
    stretched = interpolate(small_grey[None], grey.shape[1:], mode="bicubic", antialias=True)[0]

    def counted(value: T) -> T:
        step_done()
        return value

    return Measures(
        pulse=counted(max(0.0, pulse(grey) - pulse(small_grey))),
        flicker=counted(max(0.0, flicker(grey) - flicker(small_grey))),
        repetition=counted(_beyond(repetition(grey, size), repetition(stretched, size))),
        seam=counted(seam(grey, stretched, size)),
        likeness=counted(likeness(shrunk, small)),
        # Where nothing moves, both are the faint noise that nobody sees.
        motion=counted((motion(shrunk) + _FAINT / 4) / (motion(small) + _FAINT / 4)),
        detail=counted(
            None
            if grey.shape == small_grey.shape
            else detail(grey, size) / max(detail(stretched, size), 1e-9)
        ),
    )


def luminance(video: Tensor) -> Tensor:
    """(frames, H, W, 3) -> (frames, H, W), 0...1."""
    return video[..., :3].float() @ torch.tensor(_LUMA, device=video.device)


def resized(video: Tensor, size: tuple[int, int]) -> Tensor:
    """(frames, H, W, 3) -> (frames, *size, 3), means of areas; frame by frame, for large ones."""
    frames = [adaptive_avg_pool2d(frame.movedim(-1, 0).float(), size) for frame in video[..., :3]]
    return torch.stack(frames).movedim(1, -1)


def pulse(grey: Tensor) -> float:
    """Largest step of the mean brightness off the line between its neighbours in time. (frames, H, W)."""
    return float(_off_the_line(grey.mean(dim=(1, 2))[:, None]).abs().amax())


def flicker(grey: Tensor) -> float:
    """The same in cells of the picture: root mean square over time, median over cells, so that what moves
    through a few of them does not count. (frames, H, W)."""
    cells = _cells(grey).flatten(1)  # (frames, cells)
    return float(_off_the_line(cells).square().mean(dim=0).sqrt().median())


def motion(video: Tensor) -> float:
    """Mean change of cells from frame to frame, (frames, H, W, 3).

    Of each colour by itself: what moves may be as bright as what is behind it.
    """
    cells = torch.stack([_cells(color) for color in video.float().unbind(-1)])  # (3, frames, rows, columns)
    return float(cells.diff(dim=1).abs().mean())


def repetition(grey: Tensor, size: tuple[int, int]) -> float:
    """Greatest correlation of the frames with themselves, shifted by `size` pixels along one axis or both.

    A model that is asked for more than it was trained for paints its training size again and again. 0 where
    no shift leaves a fifth of the frame to compare. (frames, H, W).
    """
    some = grey[:: max(1, len(grey) // _LOOKED_AT)]
    fine = some - smoothed(some, max(3, min(grey.shape[1:]) // _CELLS) | 1)
    found = [0.0]
    for down, right in ((0, size[1]), (size[0], 0), size):
        height, width = grey.shape[1] - down, grey.shape[2] - right
        if (down or right) and 5 * height * width >= grey.shape[1] * grey.shape[2]:
            found.append(_correlation(fine[:, down:, right:], fine[:, :height, :width]))
    return max(found)


def smoothed(grey: Tensor, side: int) -> Tensor:
    """(frames, H, W): means of squares of an odd side, one axis after the other, which for large frames is
    many times faster than both at once."""
    tall = avg_pool2d(grey[:, None], (side, 1), 1, (side // 2, 0), count_include_pad=False)
    return avg_pool2d(tall, (1, side), 1, (0, side // 2), count_include_pad=False)[:, 0]


def seam(grey: Tensor, before: Tensor, size: tuple[int, int]) -> float:
    """Step of mean brightness, 0...1, across the worst straight line through the whole video.

    before: (frames, H, W) of the small video of this size, enlarged. It is taken off first, so that lines
    which it shows (a horizon, a bench) leave only their sharpening, which is allowed for. What the large
    video adds may be a texture of stripes, so only a line that stands out among the others of its axis
    counts: as a step between the means of its sides, or as a sharp one along its whole length, steeper
    than the lines beside it.
    """
    added, found = grey - before, [0.0]
    for axis in (1, 2):
        scale = grey.shape[axis] / size[axis - 1]
        soft, sharp = line_steps(added, axis), above_neighbours(sharp_steps(added, axis))
        for steps, steps_of, as_usual, sharpened in (
            (soft, line_steps, _SOFT_AS_USUAL, _SOFT_SHARPENED),
            (sharp, sharp_steps, _SHARP_AS_USUAL, _SHARP_SHARPENED * scale),
        ):
            own = _near(_lone(steps_of(before, axis), as_usual), math.ceil(_RINGING * scale))
            found.append(float((_lone(steps, as_usual) - sharpened * own).amax()))
    return max(found)


def _lone(steps: Tensor, as_usual: float) -> Tensor:
    """(lines,) -> how far each exceeds what most lines of its axis have, times `as_usual`."""
    return (steps - as_usual * steps.quantile(_MOST_LINES)).clamp_min(0)


def _near(steps: Tensor, lines: int) -> Tensor:
    """(lines,) -> the largest of each line's surroundings."""
    return max_pool1d(steps[None], 2 * lines + 1, 1, lines)[0]


def _beyond(found: float, own: float) -> float:
    return max(0.0, found - own) / max(1 - own, _ROOM)


def likeness(video: Tensor, other: Tensor) -> float:
    """PSNR in dB of two videos (frames, H, W, 3), at most 99."""
    error = float((video - other.float()).square().mean())
    return 99.0 if error == 0 else min(99.0, -10 * math.log10(error))


def detail(grey: Tensor, size: tuple[int, int]) -> float:
    """Mean square of what frames of `size` cannot show. (frames, H, W)."""
    coarse = interpolate(adaptive_avg_pool2d(grey[None], size), grey.shape[1:], mode="bicubic")[0]
    return float((grey - coarse).square().mean())


def _cells(grey: Tensor) -> Tensor:
    """(frames, H, W) -> (frames, rows, columns), about square."""
    height, width = grey.shape[1:]
    side = max(1, min(height, width) // _CELLS)
    return adaptive_avg_pool2d(grey[None], (max(1, height // side), max(1, width // side)))[0]


def _off_the_line(values: Tensor) -> Tensor:
    """(frames, n) -> (frames-2, n): each value minus the mean of its neighbours in time."""
    return values[1:-1] - (values[:-2] + values[2:]) / 2


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    lengths = (a.square().sum() * b.square().sum()).sqrt()
    return float((a * b).sum() / lengths.clamp_min(1e-9))


def line_steps(grey: Tensor, axis: int) -> Tensor:
    """(lines,): step of the mean brightness across each line along an axis of (frames, H, W)."""
    profile = grey.movedim(axis, -1).mean(dim=(0, 1))  # (lines,)
    side = min(_SIDE, len(profile) // 2)
    means = avg_pool1d(profile[None, None], side, 1)[0, 0]
    return (means[side:] - means[:-side]).abs()


def sharp_steps(grey: Tensor, axis: int) -> Tensor:
    """(lines - 1,): step from each line of (frames, H, W) to the next that runs along its whole length.

    Nearly the least of its parts': the edge of an object is short.
    """
    lines = grey.movedim(axis, -1).mean(dim=0)  # (length, lines)
    parts = torch.stack([part.mean(dim=0) for part in lines.chunk(_PARTS)]).diff(dim=1)
    same_way = (parts * parts.median(dim=0).values.sign()).sort(dim=0).values
    return same_way[min(1, len(parts) - 1)].clamp_min(0)


def above_neighbours(steps: Tensor) -> Tensor:
    """(lines,) -> how far each exceeds the mean of both beside it: a wave rises over several lines, a seam
    over one."""
    padded = torch.cat([steps[:1], steps, steps[-1:]])
    return (steps - (padded[:-2] + padded[2:]) / 2).clamp_min(0)
