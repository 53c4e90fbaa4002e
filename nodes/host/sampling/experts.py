"""Models of two experts, such as Wan 2.2 14B: the inputs that name the second, and the steps of each."""

from __future__ import annotations

from torch import Tensor


def steps_above(sigmas: Tensor, switch_sigma: float) -> int:
    """How many of the steps belong to the expert for high noise, σ >= switch_sigma."""
    return int((sigmas[:-1] >= switch_sigma).sum())


def steps_of_experts(sigmas: Tensor, switch_sigma: float | None) -> list[slice]:
    """The steps that each guider takes, in order; a part may be empty."""
    steps = len(sigmas) - 1
    if switch_sigma is None:
        return [slice(0, steps)]
    above = steps_above(sigmas, switch_sigma)
    return [slice(0, above), slice(above, steps)]
