"""The guiders of a run: one, or the two experts of a model such as Wan 2.2 14B, and the steps of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ....s2flow_core.latent.flow import boundary_sigma
from ..model.checks import require_flow_model, require_video_latent
from ..size.conditioning_size import check_conditioning_size
from .streams import VideoLatent, require_streams


@dataclass(frozen=True)
class Experts:
    """guiders: of the model, or of its high-noise and its low-noise expert. switch_sigma: sigma below which
    the second takes over; None with one guider."""

    guiders: tuple[Any, ...]
    switch_sigma: float | None

    @classmethod
    def of(cls, guider: Any, low_noise: Any | None, boundary: float) -> Experts:
        """From a sampler's inputs; boundary counts only with a second guider."""
        if low_noise is None:
            return cls((guider,), None)
        return cls((guider, low_noise), boundary_sigma(boundary))

    def check(self, latent: VideoLatent, sampler: str) -> None:
        """Raises unless every guider's model and conditions can sample a latent.

        sampler: the name of the node, for the artist.
        """
        for guider in self.guiders:
            require_flow_model(guider.model_patcher)
            require_video_latent(guider.model_patcher, latent.video, "latent_image")
            require_streams(guider.model_patcher, latent, "latent_image")
            check_conditioning_size(guider, (latent.video.shape[-2], latent.video.shape[-1]), sampler)

    def shares(self, sigmas: Tensor) -> list[tuple[Any, slice]]:
        """The guiders, each with the steps that it takes, in order; a share may be empty."""
        return list(zip(self.guiders, steps_of_experts(sigmas, self.switch_sigma), strict=True))


def steps_above(sigmas: Tensor, switch_sigma: float) -> int:
    """How many of the steps belong to the expert for high noise, sigma >= switch_sigma."""
    return int((sigmas[:-1] >= switch_sigma).sum())


def steps_of_experts(sigmas: Tensor, switch_sigma: float | None) -> list[slice]:
    """The steps that each guider takes, in order; a part may be empty."""
    steps = len(sigmas) - 1
    if switch_sigma is None:
        return [slice(0, steps)]
    above = steps_above(sigmas, switch_sigma)
    return [slice(0, above), slice(above, steps)]
