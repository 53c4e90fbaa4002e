"""Video files to read, good and bad."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import torch
from PIL import Image

from demo.clips.scenes import draw_scene, render
from demo.run_demo.video_files import write_frames
from training.refiner.data.videos import (
    ClipRules,
)

CLIP = render(draw_scene(3), size=64, frames=9)

RULES = ClipRules(least_frames=5, most_frames=9)


def video(path: Path, frames: torch.Tensor, rate: int = 16) -> None:
    pictures = [Image.fromarray((frame * 255).round().byte().numpy()) for frame in frames]
    write_frames(path, pictures, Fraction(rate))
