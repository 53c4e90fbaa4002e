"""The LR record as an HR run sees it: enlarged and in model space."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ....s2flow_core.latent.resample import resize_latent
from ....s2flow_core.solver.low_res_field import LowResField, matched_switches
from ....s2flow_core.trajectory.trajectory import Trajectory
from ....s2flow_core.transition.upsample import recorded_scale, require_recorded_steps


class RecordAtHighRes:
    """The LR record as an HR run sees it: enlarged and in model space.

    process_in: LATENT space to model space, affine per channel. x: the HR state (B, C, T, H, W).
    """

    def __init__(
        self,
        trajectory: Trajectory,
        process_in: Callable[[Tensor], Tensor],
        x: Tensor,
        sigmas: Tensor,
        switch_sigma: float | None = None,
    ):
        require_same_video(trajectory, x)
        self.trajectory = trajectory
        self.process_in = process_in
        self.sigmas = sigmas
        self.size = (x.shape[-2], x.shape[-1])
        self.device = x.device
        small = trajectory.latent_shape
        self.scale = math.sqrt(x.shape[-2] / small[-2] * x.shape[-1] / small[-1])
        snr_scale = recorded_scale(sigmas, trajectory.sigmas, self.scale)
        self.switches = trajectory.switch_sigmas + (() if switch_sigma is None else (switch_sigma,))
        matched = matched_switches(self.switches, snr_scale)
        self.field = LowResField(
            trajectory.sigmas,
            trajectory.denoised,
            self.enlarge_difference,
            snr_scale,
            matched,
            trajectory.euler,
        )

    def enlarge(self, latent: Tensor) -> Tensor:
        return resize_latent(latent.to(self.device, torch.float32), self.size)

    def enlarge_difference(self, difference: Tensor) -> Tensor:
        """Differences take only the linear part of the latent format."""
        enlarged = self.enlarge(difference)
        return self.process_in(enlarged) - self.process_in(torch.zeros_like(enlarged))

    def require_its_steps(self, way_back: str) -> None:
        """Raises unless the HR sigmas are the record's last ones; way_back: as in FlowSettings."""
        try:
            require_recorded_steps(self.sigmas, self.trajectory.sigmas, self.scale)
        except ValueError as reason:
            raise ValueError(f"{reason}{way_back}") from None

    @property
    def start(self) -> int:
        """The LR step that the first HR step answers to."""
        return self.trajectory.steps - (len(self.sigmas) - 1)

    def denoised(self, step: int) -> Tensor:
        """The LR clean estimate at an HR step -> (B, C, T, H, W) in model space."""
        return self.process_in(self.enlarge(self.trajectory.denoised[self.start + step]))


def require_same_video(trajectory: Trajectory, samples: Tensor) -> None:
    """Raises unless an HR latent can follow the LR run: same batch and frames, and not smaller."""
    small, large = trajectory.latent_shape, tuple(samples.shape)
    if small[:3] != large[:3]:
        raise ValueError(
            f"The trajectory holds {small[0]} video(s) of {small[2]} latent frames, {small[1]} channels; "
            f"latent_image holds {large[0]} of {large[2]} with {large[1]}. Use the latent that S²Flow "
            "Upsample made from this trajectory."
        )
    if small[3] > large[3] or small[4] > large[4]:
        raise ValueError(
            f"latent_image is {large[4]}×{large[3]} cells, smaller than the low-resolution run's "
            f"{small[4]}×{small[3]}. Choose a larger size in S²Flow Upsample."
        )
