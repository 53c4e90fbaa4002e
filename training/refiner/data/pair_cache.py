"""Pairs of latents on disk: encoding a clip costs more than a training step, so every pair is made once."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

_MOST_KEPT_BYTES = 2**30


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
        self._kept: dict[Path, Pair] = {}
        self._kept_bytes = 0

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def has(self, name: str) -> bool:
        return self.path(name).is_file()

    def add(self, name: str, pair: Pair) -> None:
        """Writes a pair in half precision; a killed run leaves no half file."""
        self._write(name, vars(pair))

    def add_text(self, name: str, context: Tensor) -> None:
        """Keeps a text (tokens, width) that belongs to no pair, such as the empty prompt."""
        self._write(name, {"context": context})

    def text(self, name: str) -> Tensor:
        return load_file(self.path(name))["context"].float()

    def _write(self, name: str, tensors: dict[str, Tensor]) -> None:
        partial = self.folder / f".{name}.partial"
        save_file({key: value.to(torch.float16).contiguous() for key, value in tensors.items()}, partial)
        partial.replace(self.path(name))

    def load(self, path: Path) -> Pair:
        """A pair in single precision; as many as fit a fixed memory are kept."""
        if path in self._kept:
            return self._kept[path]
        pair = Pair(**{key: value.float() for key, value in load_file(path).items()})
        size = sum(value.nbytes for value in vars(pair).values())
        if self._kept_bytes + size <= _MOST_KEPT_BYTES:
            self._kept[path] = pair
            self._kept_bytes += size
        return pair

    def groups(self, names: list[str]) -> list[list[Path]]:
        """The files of these pairs by latent shape, in a fixed order; a damaged file is left out.

        Pairs of former runs with other settings may lie in the same folder and are no part of this one.
        """
        by_shape: dict[tuple[int, ...], list[Path]] = defaultdict(list)
        for path in sorted(map(self.path, names)):
            try:
                with safe_open(path, "pt") as file:
                    by_shape[tuple(file.get_slice("high").get_shape())].append(path)
            except SafetensorError:
                path.unlink()
        return list(by_shape.values())

    def batch(self, paths: list[Path], frames: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, T, H, W) high and low and (B, tokens, width); the first `frames` latent frames of each.

        Shorter texts are filled up with zeros, as Wan's text encoder does it.
        """
        pairs = [self.load(path) for path in paths]
        high, low = (
            torch.stack([getattr(pair, name)[:, :frames] for pair in pairs]) for name in ("high", "low")
        )
        return high, low, pad_sequence([pair.context for pair in pairs], batch_first=True)
