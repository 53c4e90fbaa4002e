"""What a Refiner run starts from, for each of its modes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ....s2flow_core.latent.flow import check_sigmas
from ....s2flow_core.latent.noise import white_noise
from ....s2flow_core.transition.flow_map import degraded, reference_signal


@dataclass(frozen=True)
class RefinerStart:
    """What the run starts from. ComfyUI forms `(1-sigma)·latent + sigma·noise`, so a flow map is a run whose
    noise is the enlarged small video itself and whose sigma starts at 1."""

    mode: str
    reference_step: int
    seed: int

    def check(self, sigmas: Tensor) -> None:
        """Raises unless these sigma can begin at this start."""
        check_sigmas(sigmas, "sigmas of the Refiner Sampler")
        if self.mode != "renoise" and float(sigmas[0]) < 1 - 1e-4:
            raise ValueError(
                f"The mode {self.mode} starts at the small video itself, which is sigma 1, but these sigmas "
                f"start at {float(sigmas[0]):.4g}. Use a whole schedule, or the mode renoise."
            )
        reference_signal(self.reference_step)

    def parts(self, large: Tensor, to_model_space: Any) -> tuple[Tensor, Tensor]:
        """(LATENT, noise in model space) mixed to the start at the first sigma; large in LATENT space.

        A flow map starts at its noise alone; the latent is what a mask holds.
        """
        # Under --gpu-only latents stay on the GPU.
        fresh = white_noise(tuple(large.shape), self.seed).to(large.device)
        if self.mode == "renoise":
            return large, fresh
        small = to_model_space(large)
        if self.mode == "flashvideo":
            small = degraded(small, fresh, reference_signal(self.reference_step))
        return large, small
