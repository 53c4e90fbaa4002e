"""The part of a video that a mask holds to a given latent: start images and keyframes of image-to-video.

Inside a run it needs no care. There the model's answer is replaced by the given latent, so the clean estimate
is constant and the velocity too: every derivative is zero and each solver ends on the latent exactly. Only
what changes the size, or the estimate itself, must know of it.

A soft mask m makes every clean estimate the mixture m·(model's answer) + (1-m)·given. A run that goes on from
it must be drawn to the same given latent; drawn to the mixture it would apply m twice. What its start then
lacks of the mixture is put into its noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .resample import resize_latent


@dataclass(frozen=True)
class HeldLatent:
    """What an LR run was told to keep.

    latent: (B, C, T, H, W) in LATENT space, what the run was given. mask: (B, 1 or C, T, H, W), 1 where the
    video is made, 0 where the latent stays, anything between where it only draws. released_at: None, or, for
    a mask that is let go of step by step (differential diffusion), the sigma at which all of it is free.
    """

    latent: Tensor
    mask: Tensor
    released_at: float | None = None

    @property
    def fully(self) -> Tensor:
        """Where the latent stands for the estimate when a run begins, as wide as the mask."""
        return self.mask <= 0 if self.released_at is None else self.mask < 1

    @property
    def partly(self) -> Tensor:
        """Where the estimate is a mixture with the latent, as wide as the mask."""
        return ~self.fully & (self.mask < 1)

    def laid_over(self, clean: Tensor) -> Tensor:
        """A clean estimate (B, C, T, H, W) with the given latent where the mask holds it fully.

        There the estimate already is the given latent, but for the precision of the record.
        """
        return torch.where(self.fully.to(clean.device), self.latent.to(clean), clean)

    def drawn_to(self, clean: Tensor) -> Tensor:
        """`laid_over`, with the given latent where it only draws too: what a run must be held to."""
        return torch.where((self.mask < 1).to(clean.device), self.latent.to(clean), clean)

    def in_last_steps(self, sigmas: Tensor, rest: Tensor) -> HeldLatent:
        """The same for a run over the last steps: `rest` (n+1,), of a schedule `sigmas` (N+1,), n <= N.

        A mask that is let go of step by step is read against the schedule of the run, in which m is held
        while m < (sigma - released)/(first sigma - released). So every value becomes one that is let go of at
        the same step of the rest.
        """
        if self.released_at is None:
            return self
        steps, left = len(sigmas) - 1, len(rest) - 1
        whole, own = (_thresholds(schedule, self.released_at) for schedule in (sigmas, rest))
        # The thresholds fall, so those above a value are the steps in which it is held.
        freed = torch.searchsorted(whole.flip(0), self.mask.float().contiguous(), right=True)
        held_steps = (steps - freed - (steps - left)).clamp_min(0)  # of the rest, 0...n
        between = (own[1:] + own[:-1]) / 2
        values = torch.cat([torch.ones(1), between, torch.zeros(1)])  # (n+1,), free ... held to the end
        return replace(self, mask=values[held_steps].to(self.mask))

    def mask_at(self, size: tuple[int, int]) -> Tensor:
        """The mask for `size` (H, W): the same frames, and no new values between held and free."""
        return resize_latent(self.mask, size, "nearest")

    def of_video(self, index: int) -> HeldLatent:
        """Of one video of the batch."""
        one = slice(index, index + 1)
        return replace(self, latent=self.latent[one], mask=self.mask[one])


def resized_start(
    clean: Tensor,
    held: HeldLatent | None,
    size: tuple[int, int],
    resize: Callable[[Tensor], Tensor],
    sigma: float,
    process_in: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor | None]:
    """The latent at `size` (H, W) that a run begins with, and what to add to its noise; None for nothing.

    clean: (B, C, T, h, w) in LATENT space, with what is held fully laid over it; resize: to `size`, one video
    latent at a time; sigma, process_in: as in `start_drawn_to`.
    """
    resized = resize(clean)
    if held is None or not held.partly.any():
        return resized, None
    partly = replace(held, mask=held.mask_at(size)).partly
    return start_drawn_to(resized, resize(held.drawn_to(clean)), partly, sigma, process_in)


def start_drawn_to(
    clean: Tensor, goal: Tensor, partly: Tensor, sigma: float, process_in: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """(latent, what to add to the noise) for a run that begins at `clean` and is drawn to `goal`.

    clean, goal: (B, C, T, H, W) in LATENT space; partly: where a mask holds partly, broadcast; sigma: the
    run's first; process_in: LATENT space to the model's, affine. The state `(1-sigma)·latent + sigma·noise`
    is the same as with `clean`, and the latent that the mask holds is the goal.
    """
    partly = partly.to(clean.device)
    latent = torch.where(partly, goal, clean)
    lacking = process_in(clean) - process_in(latent)
    return latent, torch.where(partly, (1 - sigma) / sigma * lacking, torch.zeros_like(lacking))


def _thresholds(sigmas: Tensor, released_at: float) -> Tensor:
    """(N,) values below which a mask is held in each step, 1 in the first."""
    steps = sigmas[:-1].float().cpu()
    return (steps - released_at) / (steps[0] - released_at).clamp_min(1e-6)
