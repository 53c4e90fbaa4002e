"""Reads and writes small video files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

VISUALLY_LOSSLESS = "16"


@dataclass(frozen=True)
class VideoFacts:
    """width, height: pixels. frames: decoded, not taken from the header. rate: frames per second."""

    width: int
    height: int
    frames: int
    rate: Fraction

    def __str__(self) -> str:
        return f"{self.width}×{self.height}, {self.frames} frames"


def read_facts(path: Path) -> VideoFacts:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        return VideoFacts(stream.width, stream.height, frames, Fraction(stream.average_rate or 24))


def read_frames(path: Path) -> Iterator[Image.Image]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_image()


def write_frames(path: Path, frames: Iterable[Image.Image], rate: Fraction) -> None:
    """Writes H.264 in MP4, as every player and browser takes it; sizes must be even."""
    with av.open(str(path), mode="w") as container:
        stream = None
        for image in frames:
            if stream is None:
                stream = container.add_stream("libx264", rate=rate)
                stream.width, stream.height = image.size
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": VISUALLY_LOSSLESS}
            for packet in stream.encode(av.VideoFrame.from_image(image)):
                container.mux(packet)
        if stream is None:
            raise ValueError(f"There are no frames to write to {path}.")
        for packet in stream.encode():
            container.mux(packet)
