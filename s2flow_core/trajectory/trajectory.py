"""One low-resolution run as plain data, with what every later choice of t_i and s could need.

The record holds clean estimates instead of states: they are smooth, survive half precision, and every
other quantity of the run follows from them and the noise estimate (`flow.py`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..latent.extra_frames import NO_EXTRA_FRAMES, ExtraFrames
from ..latent.flow import SAME_SIGMA
from ..latent.held_latent import HeldLatent
from ..reach.record import AttentionReach
from ..windows.grid import Triple
from .step_seconds import StepSeconds, joined

# Of the largest value: a latent that was stored or moved in half precision is still the same one.
_SAME_LATENT = 2e-3


@dataclass(frozen=True)
class ModelIdentity:
    """What must agree between the model that made a trajectory and the model that uses it."""

    family: str  # e.g. "wan2.1"
    layers: int
    heads: int
    channels: int  # of the latent
    latent_format: str  # ComfyUI's class name, e.g. "Wan21"


@dataclass(frozen=True)
class Trajectory:
    """All N steps of an LR run; CPU tensors.

    `denoised` and `final` are in LATENT space (what VAE Decode takes); `noise` is in the model's space,
    where it has unit variance. Index i is the model call at sigmas[i].

    A run that stopped above sigma = 0 is unfinished: `final` is the noisy latent that its sampler handed
    over, and another run can be appended (`followed_by`). `boundaries` are the steps at which one began:
    there the guidance or the model may have changed, so the velocity jumps and no difference may reach
    across.
    """

    sigmas: Tensor  # (N+1,) float32, falling to 0, or to where an unfinished run stopped
    denoised: Tensor  # (N, B, C, T, H, W) guided clean estimate D_i
    noise: Tensor  # (N, B, C, T, H, W) noise estimate (x - (1-sigma)·D)/sigma
    final: Tensor  # (B, C, T, H, W) result at the last sigma
    reach: AttentionReach | None
    token_shape: Triple  # (T, H, W) tokens of one video
    patch: Triple  # latent cells per token
    model: ModelIdentity
    seconds: float = field(compare=False)
    boundaries: tuple[int, ...] = ()  # ascending, each in 1...N-1
    held: HeldLatent | None = None  # start image or keyframes that the run was given under a mask
    beside: tuple[
        Tensor, ...
    ] = ()  # streams without a size, (B, ...) each at the last sigma, LATENT space: sound
    extra: ExtraFrames = NO_EXTRA_FRAMES  # that are no video, as far as the run's conditions told
    euler: bool = True  # whether every step was Euler's, so that differences of estimates are exact
    chained_from: Triple | None = None  # tokens of the small run that this large one follows, directly or not
    step_seconds: StepSeconds | None = field(default=None, compare=False)  # None: not measured

    @property
    def switch_sigmas(self) -> tuple[float, ...]:
        """sigma of the last step before each boundary: steps with sigma >= it came before the change."""
        return tuple(float(self.sigmas[step - 1]) for step in self.boundaries)

    @property
    def finished(self) -> bool:
        """Whether the run ended at sigma = 0."""
        return float(self.sigmas[-1]) == 0

    @property
    def steps(self) -> int:
        """Number of model calls N."""
        return self.denoised.shape[0]

    @property
    def small_shape(self) -> Triple:
        """(T, H, W) tokens of the run that the whole chain began with, at a size that the model knows."""
        return self.chained_from or self.token_shape

    @property
    def batch(self) -> int:
        """Number of videos B."""
        return self.denoised.shape[1]

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(B, C, T, H, W) of the LR latent."""
        return tuple(self.denoised.shape[1:])

    def check_fits(self, model: ModelIdentity) -> None:
        """Raise a ValueError if the trajectory was made by a model of another architecture."""
        mine = self.model
        pairs = (
            ("model family", mine.family, model.family),
            ("number of layers", mine.layers, model.layers),
            ("number of attention heads", mine.heads, model.heads),
            ("latent channels", mine.channels, model.channels),
            ("latent format", mine.latent_format, model.latent_format),
        )
        for what, made, given in pairs:
            if made != given:
                raise ValueError(
                    f"The trajectory was made by another model: its {what} is {made}, the connected model "
                    f"has {given}. Connect the same model to the Low-Res and the High-Res Sampler, or run "
                    "the Low-Res Sampler again."
                )

    def require_finished(self) -> None:
        """Raise a ValueError unless the run ended at sigma = 0."""
        if not self.finished:
            raise ValueError(
                f"This trajectory stopped at sigma {float(self.sigmas[-1]):.4g}. Continue it to 0 first: "
                "connect it to a second Low-Res Sampler together with the sigmas that are left."
            )

    def check_continues(self, sigmas: Tensor, latent_shape: tuple[int, ...]) -> None:
        """Raise a ValueError unless a run over these sigmas on this latent can be appended.

        sigmas: (M+1,) of the run that follows; latent_shape: (B, C, T, H, W) of its latent.
        """
        if self.finished:
            raise ValueError(
                "The earlier trajectory already ran to sigma 0, so there is nothing to continue. Give its "
                "sampler the first part of the schedule (Split Sigmas), or leave trajectory empty."
            )
        stopped, start = float(self.sigmas[-1]), float(sigmas[0])
        if abs(stopped - start) > SAME_SIGMA:
            raise ValueError(
                f"The earlier trajectory stopped at sigma {stopped:.4g}, but these sigmas start at "
                f"{start:.4g}. Split one schedule (Split Sigmas) and give each sampler its part."
            )
        if self.latent_shape != latent_shape:
            raise ValueError(
                f"The earlier trajectory is of a latent of shape {self.latent_shape}, latent_image has "
                f"{latent_shape}. A trajectory is of one size; connect the latent of its own sampler."
            )

    def check_resumes(self, latent: Tensor, noise: Tensor) -> None:
        """Raise a ValueError unless a run from this latent and noise goes on where this one stopped.

        latent: (B, C, T, H, W) in LATENT space, as `latent_shape`; noise: likewise, in model space. ComfyUI
        starts a run at `(1-sigma)·latent + sigma·noise`, and `final` is the last state divided by 1-sigma.
        """
        if noise.any():
            raise ValueError(
                "With a trajectory connected, the Low-Res Sampler goes on with a video that already holds "
                "its noise, and the connected noise would be added to it. Connect DisableNoise to noise. "
                "After S²Flow Noise Reshift a new run begins: keep its noise and leave trajectory empty."
            )
        distance = (latent.float().cpu() - self.final.float()).abs().max()
        if distance > _SAME_LATENT * self.final.abs().max():
            raise ValueError(
                "latent_image is not the video that the connected trajectory stopped at, so its steps would "
                "be recorded as one run with those of another video. Connect the latent output of the "
                "Low-Res Sampler that made the trajectory."
            )

    def reach_at(self, sigmas: Tensor) -> AttentionReach | None:
        """The attention at the recorded steps that are nearest to sigma (M,), for a run that has no record of
        its own."""
        if self.reach is None:
            return None
        distances = (sigmas.float().cpu()[:, None] - self.sigmas[: self.steps]).abs()  # (M, N)
        return self.reach.of_steps(distances.argmin(dim=1))

    def of_video(self, index: int) -> Trajectory:
        """The record of one video of the batch; the attention stays that of the whole batch, its mean."""
        one = slice(index, index + 1)
        return dataclasses.replace(
            self,
            denoised=self.denoised[:, one],
            noise=self.noise[:, one],
            final=self.final[one],
            held=None if self.held is None else self.held.of_video(index),
            beside=tuple(stream[one] for stream in self.beside),
        )

    def followed_by(self, later: Trajectory) -> Trajectory:
        """One record of this run and the run that continued it; without attention unless both have it.

        Raises ValueError if `later` does not continue this run, as `check_continues` says.
        """
        self.check_continues(later.sigmas, later.latent_shape)
        return Trajectory(
            sigmas=torch.cat([self.sigmas[:-1], later.sigmas]),
            denoised=torch.cat([self.denoised, later.denoised]),
            noise=torch.cat([self.noise, later.noise]),
            final=later.final,
            reach=_joined(self.reach, later.reach),
            token_shape=later.token_shape,
            patch=later.patch,
            model=later.model,
            seconds=self.seconds + later.seconds,
            boundaries=(*self.boundaries, self.steps, *(self.steps + step for step in later.boundaries)),
            held=later.held,
            beside=later.beside,
            extra=later.extra,
            euler=self.euler and later.euler,
            chained_from=later.chained_from,
            step_seconds=joined(self.step_seconds, later.step_seconds, (self.steps, later.steps)),
        )


def _joined(first: AttentionReach | None, second: AttentionReach | None) -> AttentionReach | None:
    """The attention of two runs on one grid, step after step; raises ValueError as `followed_by` does."""
    return None if first is None or second is None else first.followed_by(second)
