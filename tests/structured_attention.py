"""Heads that look at known places: near, along an axis, or far, as those of video models do."""

from __future__ import annotations

import torch
from torch import Tensor

# How far each head looks along T, H and W, as a share of the grid.
HEADS = (
    (0.1, 0.1, 0.1),
    (3.0, 0.08, 0.08),
    (0.05, 3.0, 3.0),
    (0.5, 0.05, 3.0),
    (3.0, 3.0, 3.0),
    (0.3, 0.4, 0.2),
)


def queries_and_keys(shape: tuple[int, int, int], heads=HEADS, content: float = 0.5) -> tuple[Tensor, Tensor]:
    """(1, heads, tokens, dim) each, for a softmax scale of 1.

    Attention falls off as a Gaussian of the distance in grid shares, times random content. The same call for
    another resolution of the grid describes the same heads.
    """
    axes = [(torch.arange(n, dtype=torch.float32) + 0.5) / n for n in shape]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)  # (tokens, 3)
    torch.manual_seed(0)
    q, k = [], []
    for sizes in heads:
        inverse = 1.0 / torch.tensor(sizes) ** 2
        far = -(place.square() * inverse).sum(-1, keepdim=True) / 2
        one = torch.ones_like(far)
        # q.k = -|x - y|²/2 up to a constant of the row, plus content
        q.append(torch.cat([place * inverse, one, content * torch.randn(len(place), 4)], dim=-1))
        k.append(torch.cat([place, far, torch.randn(len(place), 4)], dim=-1))
    return torch.stack(q)[None], torch.stack(k)[None]
