"""Models of two experts, such as Wan 2.2 14B: the inputs that name the second, and the steps of each."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from .schema import advanced

DEFAULT_BOUNDARY = 0.875


def low_noise_input() -> io.Guider.Input:
    return io.Guider.Input(
        "guider_low_noise",
        optional=True,
        tooltip=(
            "For models of two experts such as Wan 2.2 14B: the guider of the low-noise model; 'guider' is "
            "then the high-noise one."
        ),
    )


def boundary_input() -> io.Float.Input:
    return advanced(
        io.Float.Input(
            "boundary",
            default=DEFAULT_BOUNDARY,
            min=0.0,
            max=1.0,
            step=0.005,
            tooltip=(
                "With two experts, the sigma below which the low-noise one takes over. Wan 2.2: 0.875 for "
                "text to video, 0.9 for image to video."
            ),
        )
    )


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
