"""What every training of a tiny Refiner starts from."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_refiner import TINY

from demo.clips.scenes import draw_scene, render
from demo.run_demo.video_files import write_frames
from training.refiner.light_model import new_refiner, save_refiner


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> Path:
    """Two clips, one of them with a caption, and a broken one."""
    folder = tmp_path_factory.mktemp("videos")
    for seed in range(2):
        clip = render(draw_scene(seed), size=64, frames=9)
        pictures = [Image.fromarray((frame * 255).round().byte().numpy()) for frame in clip]
        write_frames(folder / f"clip{seed}.mp4", pictures, Fraction(16))
    (folder / "clip0.txt").write_text("a red circle\n")
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="session")
def base(comfy_modules, tmp_path_factory) -> Path:
    """A tiny Wan checkpoint that has something to say."""
    torch.manual_seed(1)
    model = new_refiner(**TINY)
    torch.nn.init.normal_(model.head.head.weight, std=0.1)
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    save_refiner(model, path)
    return path
