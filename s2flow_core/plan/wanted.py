"""What windows are chosen for: the record, the size, and how much may be looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..reach.record import AttentionReach
from ..windows.grid import TokenGrid

Progress = Callable[[], None]
"""Called after every step of a pass; raises to stop."""


def nothing() -> None:
    """Nobody waits."""


@dataclass(frozen=True)
class Wanted:
    """One choice of windows. reach: the LR record; grid: HR tokens and tiles; density: s, 0 < s <= 1.

    weights: (steps,) float64, what an output error at each recorded step does to the large video, 0 for steps
    that the large run does not take. tail: skipped tiles enter as their mean. after_step: of the policy's
    passes.
    """

    reach: AttentionReach
    grid: TokenGrid
    density: float
    weights: Tensor
    tail: bool = False
    after_step: Progress = nothing
