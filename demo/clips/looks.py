"""The figures of what the eye sees in a clip, together."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .ghosts import ghost, motion_of_observation
from .grounds import blotches, leading_waves
from .observe import Observation
from .outlines import raggedness


@dataclass(frozen=True)
class Looks:
    """waves, raggedness, ghost, blotches: as the functions of those names say.

    raggedness and ghost are None where no object is seen.
    """

    waves: float
    raggedness: float | None
    ghost: float | None
    blotches: float


def looks_of(clip: Tensor, seen: Observation, waves: float | None = None) -> Looks:
    """clip: (frames, H, W, 3) in 0..1, at least 9 frames; seen: what was read off it. waves: those that
    should lead in its ground, by default those that do; what is slower is a blotch."""
    motion, leading = motion_of_observation(seen, len(clip)), leading_waves(clip)
    return Looks(
        waves=leading,
        raggedness=raggedness(clip),
        ghost=None if motion is None else ghost(clip, motion),
        blotches=blotches(clip, leading if waves is None else waves),
    )
