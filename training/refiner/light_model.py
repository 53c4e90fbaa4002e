"""The light model itself: from scratch, or an existing one whose weights or LoRA factors are trained."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from training.vae_clip import HostModule
from training.wan import new_dit, save_half

# Half the depth and width of the demo's text-to-video model.
DEMO_SETTINGS: dict[str, Any] = {"num_layers": 4, "ffn_dim": 512}


class LoraLinear(nn.Module):
    """A frozen linear layer with a trained low-rank difference `x·A^T·B^T`; it starts as the layer alone."""

    def __init__(self, layer: nn.Linear, rank: int):
        super().__init__()
        self.layer = layer
        self.lora_A = nn.Parameter(torch.randn(rank, layer.in_features) / layer.in_features**0.5)
        self.lora_B = nn.Parameter(torch.zeros(layer.out_features, rank))

    @property
    def weight(self) -> Tensor:
        """The frozen layer's, unpacked: ComfyUI looks at it to choose how to compute.

        With an 8-bit one it would compute on its own and leave the factors out.
        """
        weight: Any = self.layer.weight
        return weight.dequantize() if hasattr(weight, "_qdata") else weight

    @property
    def bias(self) -> Tensor | None:
        return self.layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + (x.to(self.lora_A.dtype) @ self.lora_A.T @ self.lora_B.T).to(x.dtype)


def new_refiner(**changes: Any) -> HostModule:
    """A Wan-shaped model with initial weights; changes: num_layers, dim (a multiple of 128), ffn_dim."""
    heads = {"num_heads": changes["dim"] // 128} if "dim" in changes else {}
    return new_dit(**DEMO_SETTINGS | changes | heads)


def load_refiner(path: Path, dtype: torch.dtype, device: str) -> HostModule:
    """The diffusion model of a checkpoint as ComfyUI loads it, ready to be trained.

    dtype: of the weights; what is trained itself wants float32, what stays frozen under a LoRA does not.
    """
    import comfy.sd

    patcher = comfy.sd.load_diffusion_model(str(path), model_options={"dtype": dtype})
    model = patcher.model.diffusion_model.to(device, dtype)
    return model.requires_grad_(True)


def add_lora(model: HostModule, rank: int) -> dict[str, LoraLinear]:
    """Freezes the model and gives every linear layer of its blocks LoRA factors, by layer name."""
    model.requires_grad_(False)
    layers = [
        (name, module)
        for name, module in model.named_modules()
        if name.startswith("blocks.") and isinstance(module, nn.Linear)
    ]
    added = {}
    for name, layer in layers:
        owner, _, attribute = name.rpartition(".")
        added[name] = LoraLinear(layer, rank).to(layer.weight.device)
        setattr(model.get_submodule(owner), attribute, added[name])
    return added


def checkpoint_blocks(model: HostModule) -> None:
    """Recomputes every block in the backward pass instead of keeping its activations."""
    for block in model.blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def save_refiner(model: nn.Module, path: Path) -> None:
    """A checkpoint for core's Load Diffusion Model."""
    save_half(model.state_dict(), path, "S2Flow Refiner: flow map from a small video to a large one")


def save_lora(layers: dict[str, LoraLinear], path: Path) -> None:
    """A LoRA for core's LoRA loader (model only)."""
    weights = {}
    for name, layer in layers.items():
        for factor in ("lora_A", "lora_B"):
            value = getattr(layer, factor).detach()
            weights[f"diffusion_model.{name}.{factor}.weight"] = value.to("cpu", torch.float16).contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, metadata={"modelspec.title": "S2Flow Refiner LoRA", "format": "pt"})
