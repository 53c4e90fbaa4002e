"""Training clips from a folder of videos; what cannot be used is skipped by name and counted, never fatal."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import av.error
import numpy
import torch
import torch.nn.functional as F
from torch import Tensor

log = logging.getLogger(__name__)

SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}
_JUDGED_FRAMES = 10


class Unusable(Exception):
    """Why a video is skipped, in a few words."""


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
    """The names of what was left out, by reason."""

    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, reason: str) -> None:
        self.reasons[name] = reason
        log.warning("Skipped %s: %s", name, reason)

    def summary(self) -> str:
        kinds = Counter(re.sub(r"[\d.]+", "…", reason) for reason in self.reasons.values())
        listed = "; ".join(f"{count} × {kind}" for kind, count in kinds.items())
        return f"{len(self.reasons)} videos skipped" + (f": {listed}" if listed else "")


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
            skipped.add(path.name, str(reason))
            continue
        yield path, frames


def read_clip(path: Path, rules: ClipRules) -> Tensor:
    """The first frames at the rules' rate, cut to 4n+1; raises Unusable for a broken or short file."""
    pictures: list[numpy.ndarray] = []
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            skip = max(1.0, float(stream.average_rate or rules.rate) / rules.rate)
            for number, frame in enumerate(container.decode(stream)):
                if number >= len(pictures) * skip:
                    pictures.append(frame.to_ndarray(format="rgb24"))
                if len(pictures) == rules.most_frames:
                    break
    except (av.error.FFmpegError, IndexError, OSError, ValueError) as problem:
        raise Unusable(f"cannot be read ({problem})") from problem
    if len(pictures) < rules.least_frames:
        raise Unusable(
            f"too short, {len(pictures)} of {rules.least_frames} frames at {rules.rate:g} per second"
        )
    whole = (len(pictures) - 1) // 4 * 4 + 1
    return torch.from_numpy(numpy.stack(pictures[:whole])).float() / 255


def judge(frames: Tensor, rules: ClipRules) -> None:
    """Raises Unusable for a clip that is too dark, too bright or too soft to learn detail from."""
    picks = torch.linspace(0, len(frames) - 1, min(_JUDGED_FRAMES, len(frames))).round().long()
    grey = frames[picks].mean(dim=-1)  # (frames, H, W)
    brightness = float(grey.mean())
    if not rules.brightness[0] <= brightness <= rules.brightness[1]:
        raise Unusable(f"mean brightness {brightness:.2f}")
    sharpness = laplacian_variance(grey)
    if sharpness < rules.sharpness:
        raise Unusable(f"too soft, Laplacian variance {sharpness:.1f}")


def laplacian_variance(grey: Tensor) -> float:
    """Mean over frames (T, H, W) in 0..1 of the Laplacian's variance on values 0..255."""
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])[None, None]
    edges = F.conv2d(grey[:, None] * 255, kernel)  # (T, 1, H-2, W-2)
    return float(edges.var(dim=(1, 2, 3)).mean())
