"""Checkpoints in 8 bits as core's own quantized loading takes them: each matrix with a scale of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tiny_variant import State, Variant
from torch import Tensor

FP8 = torch.float8_e4m3fn


def to_fp8(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """(numbers in 8 bits, scale)"""
    scale = matrix.abs().max() / torch.finfo(FP8).max
    return (matrix / scale).to(FP8), scale


def to_int8(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """(numbers in 8 bits, scale)"""
    scale = matrix.abs().max() / 127
    return (matrix / scale).round().to(torch.int8), scale


FORMATS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "float8_e4m3fn": to_fp8,
    "int8_tensorwise": to_int8,
}


@dataclass(frozen=True)
class Quantized:
    """stored: the tensors of a file. meant: the weights that they stand for. layers: what is in 8 bits."""

    stored: State
    meant: State
    layers: tuple[str, ...]
    format: str

    @classmethod
    def of(cls, weights: State, format: str) -> Quantized:
        """The matrices of the blocks, as published files have them; the rest stays."""
        stored, meant, layers = dict(weights), dict(weights), []
        for name, matrix in weights.items():
            if not (name.endswith(".weight") and matrix.ndim == 2 and "blocks." in name):
                continue
            numbers, scale = FORMATS[format](matrix)
            layer = name.removesuffix(".weight")
            stored[name], stored[f"{layer}.weight_scale"] = numbers, scale
            meant[name] = numbers.float() * scale
            layers.append(layer)
        return cls(stored, meant, tuple(layers), format)

    def load(self, variant: Variant, folder: Path) -> Any:
        """The ModelPatcher of core's Load Diffusion Model, from a file whose metadata name the layers."""
        import comfy.sd

        layers = {layer: {"format": self.format} for layer in self.layers}
        metadata = {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})}
        path = folder / f"{variant.name}_{self.format}.safetensors"
        tensors = {name: value.contiguous() for name, value in self.stored.items()}
        save_file(tensors, path, metadata=metadata | variant.metadata())
        return comfy.sd.load_diffusion_model(str(path))
