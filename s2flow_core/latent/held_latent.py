"""The part of a video that a mask holds to a given latent: start images and keyframes of image-to-video.

Inside a run it needs no care. There the model's answer is replaced by the given latent, so the clean estimate
is constant and the velocity too: every derivative is zero and each solver ends on the latent exactly. Only
what changes the size, or the estimate itself, must know of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .resample import resize_latent


@dataclass(frozen=True)
class HeldLatent:
    """What an LR run was told to keep.

    latent: (B, C, T, H, W) in LATENT space, what the run was given. mask: (B, 1 or C, T, H, W), 1 where the
    video is made, 0 where the latent stays, anything between where it only draws.
    """

    latent: Tensor
    mask: Tensor

    def laid_over(self, clean: Tensor) -> Tensor:
        """A clean estimate (B, C, T, H, W) with the given latent where the mask holds it.

        Where the mask holds fully, the estimate already is the given latent; where it holds partly, a
        sampler at the large size must be drawn to the same picture, not to the estimate.
        """
        return clean * self.mask + self.latent * (1 - self.mask)

    def mask_at(self, size: tuple[int, int]) -> Tensor:
        """The mask for `size` (H, W): the same frames, and no new values between held and free."""
        return resize_latent(self.mask, size, "nearest")

    def of_video(self, index: int) -> HeldLatent:
        """Of one video of the batch."""
        one = slice(index, index + 1)
        return HeldLatent(self.latent[one], self.mask[one])
