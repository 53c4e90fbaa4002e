"""What a step of the small run took, from which the seconds of a large one follow."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class StepSeconds:
    """One step, in seconds on the device.

    whole: with everything that was measured and written down. attention: of that, the video's self-attention.
    capture: of that, measuring how far the heads look, which no large step does. Raises ValueError for what
    is no length of time.
    """

    whole: float
    attention: float
    capture: float

    def __post_init__(self) -> None:
        for name, seconds in vars(self).items():
            if not 0 <= seconds < math.inf:
                raise ValueError(f"{name} is no length of time: {seconds}")

    @property
    def rest(self) -> float:
        """What grows with the number of tokens: all but attention."""
        return max(0.0, self.whole - self.attention - self.capture)


def typical(steps: Sequence[StepSeconds]) -> StepSeconds | None:
    """The median of each part, so that a first step that compiles and loads does not count; None of none."""
    if not steps:
        return None
    parts = (
        [step.whole for step in steps],
        [step.attention for step in steps],
        [step.capture for step in steps],
    )
    return StepSeconds(*(statistics.median_low(part) for part in parts))


def joined(
    first: StepSeconds | None, second: StepSeconds | None, steps: tuple[int, int]
) -> StepSeconds | None:
    """Of two runs of so many steps that are one: their mean; None unless both are known."""
    if first is None or second is None:
        return None
    shares = [count / sum(steps) for count in steps]
    pairs = zip(vars(first).values(), vars(second).values())
    return StepSeconds(*(shares[0] * one + shares[1] * other for one, other in pairs))
