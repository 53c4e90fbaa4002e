"""A short recorded run of random numbers."""

from __future__ import annotations

import torch

from s2flow_core.latent.flow import noise_estimate, shifted_sigmas
from s2flow_core.reach.record import AttentionReach
from s2flow_core.trajectory.recorder import TrajectoryRecorder
from s2flow_core.trajectory.trajectory import ModelIdentity, Trajectory

MODEL = ModelIdentity("wan2.1", layers=3, heads=2, channels=4, latent_format="Wan21")

STEPS = 5


def recorded(reach: AttentionReach | None = None, scale: float = 1.0) -> Trajectory:
    generator = torch.Generator().manual_seed(0)
    recorder = TrajectoryRecorder()
    denoised = torch.empty(0)
    for sigma in shifted_sigmas(STEPS, 3.0)[:-1]:
        x, denoised = torch.randn(2, 1, 4, 3, 4, 6, generator=generator)
        recorder.record(sigma, denoised * scale, noise_estimate(x, denoised, sigma))
    return recorder.finish(denoised, (3, 2, 3), (1, 2, 2), MODEL, 1.5, reach)


def reach(with_error: bool = False) -> AttentionReach:
    generator = torch.Generator().manual_seed(1)
    mass, error, tail_error = torch.rand(3, STEPS, 3, 2, 3, 2, 3, generator=generator).half()
    if not with_error:
        return AttentionReach(mass, (3, 2, 3), (1, 1, 1))
    nothing, tail_nothing = torch.rand(2, STEPS, 3, 2, generator=generator).half()
    return AttentionReach(
        *(mass, (3, 2, 3), (1, 1, 1), error),
        nothing=nothing,
        tail_error=tail_error,
        tail_nothing=tail_nothing,
    )
