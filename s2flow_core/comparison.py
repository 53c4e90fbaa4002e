"""Two versions of one video in one picture: the small one enlarged against the large one, frame by frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .latent.resample import SAME_SHAPE, check_finite

MODES = ("wipe", "side by side")
SWEEP_SECONDS = 4.0  # of the line across the picture and back
LINE = 1.0  # its brightness


@dataclass(frozen=True)
class Pairs:
    """Which frame of each video is shown at the same time. word: what was changed for it, "" if nothing."""

    small: list[int]
    large: list[int]
    word: str


def paired_frames(frames: tuple[int, int], rates: tuple[float, float]) -> Pairs:
    """Frames (small, large) of one moment, at the large video's rate.

    frames: how many each video has; rates: frames a second of each. The small video is resampled to the
    large one's rate (nearest frame), and the longer one cut to the shorter. Raises ValueError for a picture
    beside a video, for several videos in a batch, and for a rate that is not above 0.
    """
    if min(rates) <= 0:
        raise ValueError(f"fps is {min(rates):g}; give the frames a second of the video, above 0.")
    require_one_video(frames, rates)
    moments = [round(n * rates[0] / rates[1]) for n in range(frames[1])]
    small = [moment for moment in moments if moment < frames[0]]
    words: list[str] = []
    if rates[0] != rates[1]:
        words.append(f"the small video's {rates[0]:g} frames a second are shown at {rates[1]:g}")
    if len(small) < frames[1] or small[-1] + max(1.0, rates[0] / rates[1]) < frames[0]:
        words.append(
            f"the small video has {frames[0]} frames and the large one {frames[1]}; the first "
            f"{len(small)} are compared"
        )
    return Pairs(small, list(range(len(small))), ", and ".join(words))


def require_one_video(frames: tuple[int, int], rates: tuple[float, float]) -> None:
    """Raises for what cannot be the same video twice."""
    same_length = abs(frames[0] / rates[0] - frames[1] / rates[1]) <= 1 / min(rates)
    small, large = frames
    if (small == 1) != (large == 1):
        still, video = ("small", "large") if small == 1 else ("large", "small")
        raise ValueError(
            f"{still} is a single picture and {video} a video of {max(frames)} frames. Connect the decoded "
            "frames of both, or a picture to both."
        )
    for many, few, name in ((small, large, "small"), (large, small, "large")):
        if few > 1 and many > few and many % few == 0 and not same_length:
            raise ValueError(
                f"{name} holds {many} frames, {many // few} times the other's {few}: a batch of several "
                "videos. Choose one with S²Flow Pick Preview before decoding."
            )


def comparison_length(mode: str, pairs: Pairs, rate: float) -> int:
    """Frames of a comparison: those of the video, or in a wipe of as many rounds as the line needs."""
    rounds = 1 if mode != "wipe" else max(1, math.ceil(SWEEP_SECONDS * rate / len(pairs.large)))
    return rounds * len(pairs.large)


def comparison_frames(small: Tensor, large: Tensor, mode: str, pairs: Pairs, rate: float) -> Iterator[Tensor]:
    """The frames (H, W, 3) or, side by side, (H, 2 W, 3), in [0, 1].

    small: (F, h, w, 3), enlarged to the size of large, (F', H, W, 3). mode: one of MODES. In a wipe the line
    crosses the picture and comes back, the video repeating until it has; small is left of it.
    Raises ValueError for another mode, for shapes of different proportions, and for NaN or infinity.
    """
    if mode not in MODES:
        raise ValueError(f"Unknown comparison '{mode}'; choose one of {', '.join(MODES)}.")
    require_same_shape(small, large)
    check_finite(small, "small")
    check_finite(large, "large")
    total = comparison_length(mode, pairs, rate)
    for n in range(total):
        at = n % len(pairs.large)
        right = large[pairs.large[at]][..., :3].float().clamp(0, 1)  # (H, W, 3)
        left = enlarged(small[pairs.small[at]][..., :3].float(), right)
        if mode == "wipe":
            yield wiped(left, right, 0.5 - 0.5 * math.cos(2 * math.pi * n / total))
        else:
            yield torch.cat([left, right], dim=1)  # (H, 2 W, 3)


def require_same_shape(small: Tensor, large: Tensor) -> None:
    for name, video in (("small", small), ("large", large)):
        if video.ndim != 4 or video.shape[-1] < 3:
            raise ValueError(
                f"{name} has the shape {tuple(video.shape)}; connect decoded frames (an IMAGE), as VAE "
                "Decode gives them."
            )
    (height, width), (large_height, large_width) = small.shape[1:3], large.shape[1:3]
    ratio = (width / height) / (large_width / large_height)
    if abs(ratio - 1) > SAME_SHAPE:
        raise ValueError(
            f"small is {width}x{height} and large {large_width}x{large_height}: other proportions, so they "
            "are not one video at two sizes. Connect the frames of the same run."
        )


def enlarged(frame: Tensor, to: Tensor) -> Tensor:
    """A frame (h, w, 3) at the size of another one (H, W, 3), bicubic, in [0, 1]."""
    if frame.shape[:2] == to.shape[:2]:
        return frame.to(to).clamp(0, 1)
    channels = frame.permute(2, 0, 1)[None]  # (1, 3, h, w)
    size = (to.shape[0], to.shape[1])
    resized = torch.nn.functional.interpolate(channels, size=size, mode="bicubic", antialias=True)
    return resized[0].permute(1, 2, 0).to(to).clamp(0, 1)


def wiped(left: Tensor, right: Tensor, share: float) -> Tensor:
    """`left` up to a share of the width, then a line of one pixel, then `right`. Both (H, W, 3)."""
    width = right.shape[1]
    column = round(share * width)
    frame = right.clone()
    frame[:, :column] = left[:, :column]
    frame[:, min(column, width - 1)] = LINE
    return frame
