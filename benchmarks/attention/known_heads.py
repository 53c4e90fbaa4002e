"""Attention heads whose reach is known at every size: near, along an axis, periodic, everywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from s2flow_core.windows.grid import Triple

NEAR = tuple((width, width, width) for width in (0.03, 0.05, 0.08, 0.12, 0.2, 0.35, 0.6))
ALONG = ((3.0, 0.05, 0.05), (0.04, 0.3, 0.3), (0.3, 0.04, 0.6), (0.1, 0.5, 0.03))
PERIODIC = ((3.0, 0.15, 0.25), (0.2, 0.25, 0.12))
"""Widths of one period of a head that looks at every repetition along the second and third axis."""

_PERIODS = 4
_WAVES, _HIGHEST_WAVE = 48, 6.0
_NOISE = 0.3
_CHANNELS = 16


@dataclass(frozen=True)
class KnownHeads:
    """q, k: (1, heads, tokens, 14), v: (1, heads, tokens, 16); softmax scale 1."""

    q: Tensor
    k: Tensor
    v: Tensor


def known_heads(shape: Triple) -> KnownHeads:
    """The same heads and the same video on a grid of any resolution.

    Attention falls off as a Gaussian of the distance in shares of the grid (or, periodically, of its phase)
    or not at all. Values are a smooth field of position, alike at every size, and a little white noise.
    """
    place = places(shape)
    generator = torch.Generator().manual_seed(0)
    rows = [_gaussian(place, width) for width in NEAR + ALONG]
    rows += [_periodic(place, width) for width in PERIODIC]
    rows.append((torch.zeros(len(place), 7), torch.zeros(len(place), 7)))  # everywhere alike
    q, k = (torch.stack([pair[side] for pair in rows])[None] for side in (0, 1))
    v = torch.stack([_field(place, generator) for _ in rows])[None]
    return KnownHeads(q, k, v)


def places(shape: Triple) -> Tensor:
    """(tokens, 3): where each token's middle lies, 0...1 per axis."""
    axes = [(torch.arange(n, dtype=torch.float32) + 0.5) / n for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)


def _gaussian(place: Tensor, width: Triple | tuple[float, float, float]) -> tuple[Tensor, Tensor]:
    """q and k (tokens, 7) whose product is -|(x - y) / width|²/2, up to a constant of the row."""
    inverse = 1.0 / torch.tensor(width) ** 2
    far = -(place.square() * inverse).sum(-1, keepdim=True) / 2
    nothing = torch.zeros(len(place), 3)
    q = torch.cat([place * inverse, torch.ones_like(far), nothing], dim=-1)
    return q, torch.cat([place, far, nothing], dim=-1)


def _periodic(place: Tensor, width: tuple[float, float, float]) -> tuple[Tensor, Tensor]:
    """q and k (tokens, 7): a Gaussian along T, and along H and W of the distance within a period."""
    angle = 2 * math.pi * _PERIODS * place[:, 1:]
    wave = torch.cat([angle.cos(), angle.sin()], dim=-1)  # (tokens, 4)
    sharp = 1.0 / (2 * math.pi * torch.tensor(width[1:])) ** 2
    time = place[:, :1]
    inverse = 1.0 / width[0] ** 2
    far = -(time.square() * inverse) / 2
    q = torch.cat([time * inverse, torch.ones_like(far), wave * sharp.repeat(2)], dim=-1)
    k = torch.cat([time, far, wave], dim=-1)
    nothing = torch.zeros(len(place), 1)
    return torch.cat([q, nothing], dim=-1), torch.cat([k, nothing], dim=-1)


def _field(place: Tensor, generator: torch.Generator) -> Tensor:
    """(tokens, 16): random waves of position, and white noise of its own at every size."""
    waves = (torch.rand(3, _WAVES, generator=generator) * 2 - 1) * _HIGHEST_WAVE
    phase = torch.rand(_WAVES, generator=generator) * 2 * math.pi
    mix = torch.randn(_WAVES, _CHANNELS, generator=generator) / _WAVES**0.5
    smooth = (2 * math.pi * place @ waves + phase).cos() @ mix
    noise = torch.Generator().manual_seed(len(place))
    return smooth + _NOISE * torch.randn(len(place), _CHANNELS, generator=noise)
