"""Tiny checkpoints of the real architectures: ComfyUI's own classes and loader, random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from present_host import knows, lacks, older_than, version
from safetensors.torch import save_file
from tiny_wan import STEPS, Graph, SeededNoise
from torch import Tensor, nn

Size = tuple[int, int, int]  # (T, H, W) of a latent
State = dict[str, Tensor]


def nothing_more(size: Size) -> dict[str, Any]:
    return {}


def empty_latent(channels: int, size: Size) -> dict[str, Any]:
    return {"samples": torch.zeros(1, channels, *size)}


@dataclass(frozen=True)
class Variant:
    """One published kind of model, its conditions at a given latent size, and the tokens it adds.

    weights: the checkpoint's tensors under their published names. conditions: what the loader's and core's
    conditioning nodes would put beside the text, for a latent size. latent: what they would give as LATENT,
    for its channels and size. size: of the LR latent; twice it is HR.
    """

    name: str
    weights: Callable[[], State]
    family: str
    layers: int
    heads: int
    latent_format: str
    channels: int = 16
    size: Size = (3, 8, 8)
    patch: Size = (1, 2, 2)
    text_width: int = 4096
    text_tokens: int = 6
    conditions: Callable[[Size], dict[str, Any]] = nothing_more
    latent: Callable[[int, Size], dict[str, Any]] = empty_latent
    prefix: Callable[[Size], int] = lambda size: 0
    suffix: Callable[[Size], int] = lambda size: 0
    guidance: float = 3.0
    frames_behind: int = field(default=0, kw_only=True)  # of guides, behind the video's
    model_class: str = field(default="", kw_only=True)
    module: str = field(default="", kw_only=True)  # of ComfyUI, with that class; empty: all versions have it
    version: str = field(default="", kw_only=True)  # of ComfyUI from which on hooks reach the model

    def __str__(self) -> str:
        return self.name

    def require_host(self) -> None:
        """Skips the test where this version of ComfyUI does not know the model."""
        if self.module and not knows(self.module, self.model_class):
            lacks(self.model_class)
        if self.version and older_than(self.version):
            pytest.skip(f"ComfyUI {version()} gives hooks no way to {self.name}; {self.version} does")

    @property
    def large(self) -> Size:
        return (self.size[0], 2 * self.size[1], 2 * self.size[2])

    def tokens(self, size: Size) -> int:
        steps = zip(size, self.patch, strict=True)
        frames, height, width = (length // side for length, side in steps)
        return self.prefix(size) + frames * height * width + self.suffix(size)

    def load(self, folder: Path, **options: Any) -> Any:
        """The ModelPatcher that core's Load Diffusion Model gives; written to disk once."""
        import comfy.sd

        path = folder / f"{self.name}.safetensors"
        if not path.exists():
            save_file({key: value.contiguous() for key, value in self.weights().items()}, path)
        return comfy.sd.load_diffusion_model(str(path), model_options=options)

    def metadata(self) -> dict[str, str]:
        """What a checkpoint's file says of its network."""
        return {}

    def guider(self, model: Any, size: Size, guidance: float | None = None) -> Any:
        """Core's CFGGuider with a random text for each side."""
        import comfy.samplers

        guider = comfy.samplers.CFGGuider(model)
        positive, negative = (self.text(seed) for seed in (11, 12))
        extras = self.conditions(size)
        guider.set_conds([[positive, extras]], [[negative, extras]])
        guider.set_cfg(self.guidance if guidance is None else guidance)
        return guider

    def text(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(1, self.text_tokens, self.text_width, generator=generator)


@dataclass(frozen=True)
class VariantGraph(Graph):
    """A graph whose HR guider has conditions of its own: pictures that go with the video have its size."""

    variant: Variant
    large_guider: Any

    def low_res(self, **changes: Any) -> tuple[dict[str, Any], Any]:
        start = self.variant.latent(self.variant.channels, self.variant.size)
        return super().low_res(**{"noise": SeededNoise(3), "latent_image": start} | changes)

    def high_res(self, triple: tuple[Any, Any, Any], **inputs: Any) -> Tensor:
        return super().high_res(triple, **{"guider": self.large_guider} | inputs)


def variant_graph(modules: Any, variant: Variant, model: Any, guidance: float | None = None) -> VariantGraph:
    schedule = modules.pack("demo.generate").schedule(model, STEPS)
    small, large = (variant.guider(model, size, guidance) for size in (variant.size, variant.large))
    return VariantGraph(modules, small, schedule, variant, large)


def random_weights(model: nn.Module, sharpened: str | tuple[str, ...]) -> State:
    """Small random weights under which every part of a network matters.

    sharpened: end of the names of the query norms; large queries make sharp attention, so that a window's
    edge shows in the result.
    """
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, value in model.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if value.ndim > 1 and not name.endswith(("modulation", "scale_shift_table")):
            state[name] = noise * value[0].numel() ** -0.5
        elif name.endswith("weight") or name.endswith("scale"):
            state[name] = torch.ones(value.shape)
        else:
            state[name] = noise * 0.1
        if name.endswith(sharpened):
            state[name] = state[name] * 4
    return state
