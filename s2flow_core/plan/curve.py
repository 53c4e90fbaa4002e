"""What another s would cost and keep, for the report and its picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

_SLIDER = 0.05
"""The step of s."""


@dataclass(frozen=True)
class Curve:
    """density and coverage (0...1 each) at rising values of s, the last of which is 1."""

    s: tuple[float, ...]
    density: tuple[float, ...]
    coverage: tuple[float, ...]

    def s_for(self, coverage: float) -> float:
        """The smallest s of the slider that keeps this much, between the planned ones by a straight line."""
        points = list(zip(self.s, self.coverage))
        for (low, less), (high, more) in pairwise(points):
            if less >= coverage:
                return _slider_value(low)
            if more >= coverage:
                return _slider_value(low + (high - low) * (coverage - less) / (more - less))
        return 1.0


def _slider_value(s: float) -> float:
    return round(math.ceil(round(s / _SLIDER, 6)) * _SLIDER, 2)
