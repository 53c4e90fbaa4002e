"""A Refiner of two small layers, trained in this process."""

from __future__ import annotations

from pathlib import Path

from demo.files import VAE_FILE
from training.refiner.__main__ import main

TINY = {"dim": 128, "num_layers": 2, "ffn_dim": 128}

SMALL = ("--vae", VAE_FILE, "--size", "64x64", "--variants", 1, "--device", "cpu")


def train_here(folder: Path, out: Path, *options: object) -> None:
    """`python -m training.refiner` in this process."""
    main([str(part) for part in ("--videos", folder, "--out", out, *SMALL, *options)])
