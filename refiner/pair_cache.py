"""Pairs of latents on disk: encoding a clip costs more than a training step, so every pair is made once."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor


@dataclass(frozen=True)
class Pair:
    """One training example in model space: the large latent, the enlarged small one, and the text.

    high, low: (C, T, H, W). context: (tokens, width), zeros for no text.
    """

    high: Tensor
    low: Tensor
    context: Tensor


class PairCache:
    """A folder of pairs, grouped by the shape of their latents so that a batch is all of one shape."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._loaded: dict[Path, Pair] = {}

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def has(self, name: str) -> bool:
        return self.path(name).is_file()

    def add(self, name: str, pair: Pair) -> None:
        """Writes a pair in half precision; a killed run leaves no half file."""
        partial = self.folder / f".{name}.partial"
        tensors = {key: value.to(torch.float16).contiguous() for key, value in vars(pair).items()}
        save_file(tensors, partial)
        partial.replace(self.path(name))

    def load(self, path: Path) -> Pair:
        if path not in self._loaded:
            values = {key: value.float() for key, value in load_file(path).items()}
            self._loaded[path] = Pair(**values)
        return self._loaded[path]

    def groups(self) -> list[list[Path]]:
        """The files of every latent shape, in a fixed order; a damaged file is left out."""
        by_shape: dict[tuple[int, ...], list[Path]] = defaultdict(list)
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                by_shape[tuple(self.load(path).high.shape)].append(path)
            except (SafetensorError, TypeError):
                path.unlink()
        return list(by_shape.values())

    def batch(self, paths: list[Path], frames: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, T, H, W) high and low and (B, tokens, width); the first `frames` latent frames of each."""
        pairs = [self.load(path) for path in paths]
        high, low = (
            torch.stack([getattr(pair, name)[:, :frames] for pair in pairs]) for name in ("high", "low")
        )
        return high, low, torch.stack([pair.context for pair in pairs])
