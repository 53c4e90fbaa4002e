"""A good large video spoiled in one way, as the faults look that real runs have."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def alternating(large: Tensor, small: Tensor) -> Tensor:
    """Every second frame is darker."""
    factors = torch.ones(len(large))
    factors[1::2] = 0.93
    return large * factors[:, None, None, None]


def pulsing(large: Tensor, small: Tensor) -> Tensor:
    """The first frame of every latent group of four is brighter."""
    added = torch.zeros(len(large))
    added[1::4] = 0.03
    return (large + added[:, None, None, None]).clamp(0, 1)


def repeating(large: Tensor, small: Tensor) -> Tensor:
    """The training size, painted again and again."""
    times = (large.shape[1] // small.shape[1], large.shape[2] // small.shape[2])
    return small.repeat(1, *times, 1)


def seamed(large: Tensor, small: Tensor) -> Tensor:
    """Two tiles that were decoded on their own."""
    middle = large.shape[2] // 2
    added = torch.zeros(large.shape[2])
    added[middle:] = 0.04
    return (large + added[:, None] - 0.02).clamp(0, 1)


def drifting(large: Tensor, small: Tensor) -> Tensor:
    """Everything runs to one side, a little further in each frame."""
    frames = [torch.roll(frame, n * large.shape[2] // 24, 1) for n, frame in enumerate(large)]
    return torch.stack(frames)


def frozen(large: Tensor, small: Tensor) -> Tensor:
    return large[:1].expand_as(large).clone()


def enlarged_only(large: Tensor, small: Tensor) -> Tensor:
    frames = interpolate(small.movedim(-1, 1), large.shape[1:3], mode="bicubic", antialias=True)
    return frames.movedim(1, -1).clamp(0, 1)


SPOILED: dict[str, tuple[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "alternating": ("flicker", alternating),
    "pulsing": ("flicker", pulsing),
    "repeating": ("repetition", repeating),
    "seamed": ("seam", seamed),
    "drifting": ("drift", drifting),
    "frozen": ("frozen", frozen),
    "enlarged only": ("no detail", enlarged_only),
}
"""How it was spoiled -> (the fault that is to be found, what spoils it)."""
