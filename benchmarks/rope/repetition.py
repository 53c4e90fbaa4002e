"""Does a large video repeat itself?"""

from __future__ import annotations

import torch
from torch import Tensor

_GROUND = 16  # pixels: brightness that changes more slowly than this is no picture


def repetition(clip: Tensor, lag: int) -> float:
    """Correlation of a clip with itself moved by `lag` pixels, the mean of both directions, -1...1.

    clip: (T, H, W, 3). A model that sees positions beyond its training draws the scene once per training
    size; then the clip agrees with itself at that distance. Slow changes of brightness are removed first.
    """
    picture = clip.mean(-1)  # (T, H, W)
    ground = torch.nn.functional.avg_pool2d(
        picture[:, None], 2 * _GROUND + 1, stride=1, padding=_GROUND, count_include_pad=False
    )[:, 0]
    picture = picture - ground
    down = correlation(picture[:, :-lag], picture[:, lag:])
    across = correlation(picture[..., :-lag], picture[..., lag:])
    return (down + across) / 2


def correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-12))
