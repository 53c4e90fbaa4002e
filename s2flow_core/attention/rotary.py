"""More tokens than a model was trained with: what to do to its rotary positions and to its attention.

The small video fixes the layout and windows keep distances short, so S²Flow works without any of this, and
the paper does. What is left was measured (`python -m benchmarks.rope`): a model that knows several sizes does
best with its positions as they are. Squeezed into the small run's range, they keep the objects of a model in
place that was trained at one size only.
"""

from __future__ import annotations

import math

ROPE_MODES = ("none", "position", "ntk")
DEFAULT_ROPE = "auto"
"""What measured best, `MEASURED_ROPE`."""
MEASURED_ROPE = "none"


def position_factor(low: int, high: int) -> float:
    """What positions are multiplied with so that `high` of them span what `low` did (position interpolation).

    Chen et al. 2023, eq. 4, for positions that begin at 0.
    """
    return (low - 1) / (high - 1) if high > 1 else 1.0


def theta_factor(low: int, high: int, channels: int) -> float:
    """What an axis' base theta is multiplied with: `(high/low)^(d/(d-2))`, the NTK-aware rule.

    The highest frequency stays, the lowest is stretched by high/low. channels: d, of this axis in a head.
    """
    return (high / low) ** (channels / (channels - 2)) if channels > 2 else 1.0


def attention_temperature(low: int, visible: float) -> float:
    """Factor on q·k that keeps attention's entropy as the number of keys grows: `sqrt(ln visible / ln low)`.

    low: keys of the trained size; visible: keys that a query sees now. Never below 1.
    """
    return max(1.0, math.sqrt(math.log(max(visible, 2)) / math.log(max(low, 2))))
