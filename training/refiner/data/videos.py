"""Training clips from a folder of videos; what cannot be used is skipped by name and counted, never fatal."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy
import torch
import torch.nn.functional as F
from torch import Tensor

from .buckets import UNIT

log = logging.getLogger(__name__)

SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}
_JUDGED_FRAMES = 10


class Unusable(Exception):
    """Why a video is skipped: the kind, in words that other videos share, and this video's own detail."""

    def __init__(self, kind: str, detail: object = ""):
        super().__init__(f"{kind} ({detail})" if str(detail) else kind)
        self.kind = kind


@dataclass(frozen=True)
class ClipRules:
    """Which videos are trained on (Bowtie-flow B.3; its MUSIQ score needs weights and is left out).

    rate: frames per second after skipping. frames: at least and at most, each 4n+1. brightness: range of the
    mean in 0..1. sharpness: least variance of the Laplacian, on values 0..255.
    """

    rate: float = 16.0
    least_frames: int = 17
    most_frames: int = 81
    brightness: tuple[float, float] = (0.08, 0.92)
    sharpness: float = 30.0


@dataclass
class SkippedVideos:
    """What was left out and why, by its path below the folder: two folders may hold files of one name."""

    folder: Path
    reasons: dict[str, Unusable] = field(default_factory=dict)

    def add(self, path: Path, reason: Unusable) -> None:
        name = path.relative_to(self.folder).as_posix()
        self.reasons[name] = reason
        log.warning("Skipped %s: %s", name, reason)

    def summary(self) -> str:
        kinds = Counter(reason.kind for reason in self.reasons.values())
        listed = "; ".join(f"{count} × {kind}" for kind, count in kinds.items())
        skipped = f"{len(self.reasons)} video{'' if len(self.reasons) == 1 else 's'} skipped"
        return skipped + (f": {listed}" if listed else "")


def list_videos(folder: Path) -> list[Path]:
    """Every video below a folder, in a fixed order."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def usable_clips(
    paths: list[Path], rules: ClipRules, skipped: SkippedVideos
) -> Iterator[tuple[Path, Tensor]]:
    """(path, frames (T, H, W, 3) in 0..1) of every video that the rules allow."""
    for path in paths:
        try:
            frames = read_clip(path, rules)
            judge(frames, rules)
        except Unusable as reason:
            skipped.add(path, reason)
            continue
        yield path, frames


def read_clip(path: Path, rules: ClipRules) -> Tensor:
    """The first frames at the rules' rate, cut to 4n+1; raises Unusable for a broken or short file."""
    try:
        pictures = decoded(path, rules)
    except Unusable:
        raise
    except Exception as problem:  # any file may carry a video's suffix, and decoders raise anything
        raise unreadable(problem) from problem
    if len(pictures) < rules.least_frames:
        raise Unusable(
            "too short", f"{len(pictures)} of {rules.least_frames} frames at {rules.rate:g} per second"
        )
    whole = (len(pictures) - 1) // 4 * 4 + 1
    return torch.from_numpy(numpy.stack(pictures[:whole])).float() / 255


def unreadable(problem: Exception) -> Unusable:
    """A system's or decoder's error without the path that its message repeats."""
    return Unusable("cannot be read", getattr(problem, "strerror", None) or problem)


def decoded(path: Path, rules: ClipRules) -> list[numpy.ndarray]:
    """The first pictures (H, W, 3) of a file at the rules' rate, all of one size."""
    pictures: list[numpy.ndarray] = []
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise Unusable("has no picture")
        stream = container.streams.video[0]
        skip = max(1.0, float(stream.average_rate or rules.rate) / rules.rate)
        for number, frame in enumerate(container.decode(stream)):
            if number >= len(pictures) * skip:
                pictures.append(frame.to_ndarray(format="rgb24"))
                if pictures[-1].shape != pictures[0].shape:
                    sizes = [f"{picture.shape[1]}×{picture.shape[0]}" for picture in pictures]
                    raise Unusable("changes its frame size", f"{sizes[0]} to {sizes[-1]}")
            if len(pictures) == rules.most_frames:
                break
    return pictures


def judge(frames: Tensor, rules: ClipRules) -> None:
    """Raises Unusable for a clip that is too small, dark, bright or soft to learn detail from."""
    height, width = frames.shape[1:3]
    if min(height, width) < UNIT:
        raise Unusable("too small", f"{width}×{height} pixels, the least side is {UNIT}")
    picks = torch.linspace(0, len(frames) - 1, min(_JUDGED_FRAMES, len(frames))).round().long()
    grey = frames[picks].mean(dim=-1)  # (frames, H, W)
    brightness = float(grey.mean())
    if not rules.brightness[0] <= brightness <= rules.brightness[1]:
        raise Unusable(
            "too dark" if brightness < rules.brightness[0] else "too bright", f"mean {brightness:.2f}"
        )
    sharpness = laplacian_variance(grey)
    if sharpness < rules.sharpness:
        raise Unusable("too soft", f"Laplacian variance {sharpness:.1f}")


def laplacian_variance(grey: Tensor) -> float:
    """Mean over frames (T, H, W) in 0..1 of the Laplacian's variance on values 0..255."""
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])[None, None]
    edges = F.conv2d(grey[:, None] * 255, kernel)  # (T, 1, H-2, W-2)
    return float(edges.var(dim=(1, 2, 3)).mean())
