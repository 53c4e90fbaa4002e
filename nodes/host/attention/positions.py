"""Adapts a model's positions and attention, for one run, to more tokens than it was trained with."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....s2flow_core.attention.rotary import attention_temperature, position_factor, theta_factor
from ....s2flow_core.windows.grid import Triple
from ..families.family import ModelFamily


class ScaledRotary(torch.nn.Module):
    """Stands in for ComfyUI's EmbedND: the same rotations, of other positions or at another base per axis."""

    def __init__(self, embedder: Any, positions: list[float], thetas: list[float]):
        super().__init__()
        self.theta = embedder.theta
        self.axes_dim = embedder.axes_dim
        self.positions = positions
        self.axes = []
        for factor in thetas:
            axis = copy.copy(embedder)
            axis.theta = embedder.theta * factor
            self.axes.append(axis)

    def forward(self, ids: Tensor) -> Tensor:
        """ids: (..., tokens, axes) -> (..., tokens, channels/2, 2, 2) as EmbedND gives it.

        Some models put pictures beside the video by a shift of their positions, which stays.
        """
        least = ids.amin(dim=-2, keepdim=True)
        ids = least + (ids - least) * torch.tensor(self.positions, device=ids.device, dtype=ids.dtype)
        parts, first = [], 0
        for axis, channels in zip(self.axes, self.axes_dim, strict=True):
            parts.append(axis(ids)[..., first : first + channels // 2, :, :])
            first += channels // 2
        return torch.cat(parts, dim=-3)


@dataclass(frozen=True)
class SizeChange:
    """From the tokens (T, H, W) of the LR run to those of the HR run, and what is adapted to it.

    rope: one of ROPE_MODES. temperature: sharpen attention for the greater number of keys. density: share
    of the video that a query sees.
    """

    low: Triple
    high: Triple
    rope: str = "none"
    temperature: bool = False
    density: float = 1.0

    @property
    def logit_factor(self) -> float:
        """What q is multiplied with."""
        if not self.temperature:
            return 1.0
        low, high = (frames * height * width for frames, height, width in (self.low, self.high))
        return attention_temperature(low, high * self.density)

    def require_rotary(self, family: ModelFamily) -> None:
        """Raises if the model's positions cannot be changed this way."""
        if self.rope != "none" and family.rotary is None:
            raise ValueError(
                f"rope is '{self.rope}', but {family.name} does not number its tokens, so its positions "
                "cannot be scaled. Set rope to none."
            )

    @contextmanager
    def positions_of(self, family: ModelFamily, model: Any) -> Iterator[None]:
        """Changes the model's rotary embedding for the time of one forward pass.

        The embedding has no weights, and ComfyUI runs one forward pass of a model at a time, so nobody else
        sees the other one; core's own TorchCompileModel swaps modules in the same way. An object patch would
        be there for the whole run, and would make core unload and load the weights again. The embedding comes
        back whatever ends the pass, also an error or the Cancel button.
        """
        if self.rope == "none" or family.rotary is None:
            yield
            return
        embedder = getattr(model, family.rotary)
        setattr(model, family.rotary, self.scaled(embedder, self.own_growth(family, model)))
        try:
            yield
        finally:
            setattr(model, family.rotary, embedder)

    def own_growth(self, family: ModelFamily, model: Any) -> tuple[float, float]:
        """By how much larger steps the model itself counts the larger video, down and across."""
        (_, *large), (_, *small) = (family.position_scale(model, grid) for grid in (self.high, self.low))
        return large[0] / small[0], large[1] / small[1]

    def scaled(self, embedder: Any, own_growth: tuple[float, float] = (1.0, 1.0)) -> ScaledRotary:
        """The frame axis stays: both runs have the same frames."""
        sides = list(zip(self.low, self.high, strict=True))[1:]
        positions, thetas = [1.0] * 3, [1.0] * 3
        if self.rope == "position":
            positions[1:] = [
                position_factor(low, high) * growth
                for (low, high), growth in zip(sides, own_growth, strict=True)
            ]
        else:
            channels = embedder.axes_dim[1:]
            thetas[1:] = [theta_factor(low, high, d) for (low, high), d in zip(sides, channels, strict=True)]
        return ScaledRotary(embedder, positions, thetas)
