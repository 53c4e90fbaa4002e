"""Latent frames that are no video: references before it, guides behind it.

Some models carry pictures as frames of the latent. A video VAE is causal: decoded in one clip with the video,
a reference would be the video's past. So each such picture is a clip of its own wherever frames meet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

_TIME = 2  # axis of (B, C, T, H, W)


@dataclass(frozen=True)
class ExtraFrames:
    """Which frames of a latent (B, C, T, H, W) are no video.

    before, behind: the lengths in latent frames of the clips that stand before and behind the video.
    """

    before: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for clip in (*self.before, *self.behind):
            if clip < 1:
                raise ValueError(f"A reference or guide of {clip} latent frames cannot be; it has 1 or more.")

    def __bool__(self) -> bool:
        return bool(self.before or self.behind)

    @property
    def first(self) -> int:
        """The latent frame at which the video begins."""
        return sum(self.before)

    def trimmed_at(self, trim: int | None) -> ExtraFrames:
        """The same with `trim` frames before the video, as one clip; None leaves what is known.

        Raises ValueError for a negative number.
        """
        if trim is None or trim == self.first:
            return self
        if trim < 0:
            raise ValueError(
                f"trim_latent is {trim}; it counts the reference frames at the start of the latent, so it is "
                "0 or more. Connect trim_latent of the node that made the latent (WanVaceToVideo, "
                "WanAnimateToVideo)."
            )
        return replace(self, before=(trim,) if trim else ())

    def check(self, frames: int) -> None:
        """Raise a ValueError unless a latent of so many frames holds these and at least one of video."""
        first, behind = self.first, sum(self.behind)
        if first + behind < frames:
            return
        guides = f" and {behind} guide frame(s) at its end" if behind else ""
        raise ValueError(
            f"trim_latent says that the latent begins with {first} reference frame(s){guides}, but it has "
            f"{frames} latent frame(s) in all, so no video is left. Connect trim_latent of the node that "
            "made this latent, or nothing if it was trimmed already (TrimVideoLatent, LTXVCropGuides)."
        )

    def clips(self, latent: Tensor) -> list[Tensor]:
        """Each reference, the video and each guide of (B, C, T, H, W), in order; views."""
        frames = latent.shape[_TIME]
        self.check(frames)
        lengths = (*self.before, frames - self.first - sum(self.behind), *self.behind)
        starts = [sum(lengths[:number]) for number in range(len(lengths))]
        return [latent.narrow(_TIME, *place) for place in zip(starts, lengths, strict=True)]

    def video(self, latent: Tensor) -> Tensor:
        """The video of (B, C, T, H, W) alone, a view."""
        return self.clips(latent)[len(self.before)]

    def of_each(self, latent: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """(B, C, T, H, W) with every clip changed by itself, joined again; `change` keeps a clip's frames."""
        if not self:
            return change(latent)
        return torch.cat([change(clip) for clip in self.clips(latent)], dim=_TIME)


NO_EXTRA_FRAMES = ExtraFrames()
"""A latent that is all video."""
