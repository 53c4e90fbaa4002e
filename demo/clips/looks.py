"""The figures of what the eye sees in a clip, together."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .ghosts import ghost, motion_of_observation
from .grounds import blotches, waves_are_right
from .observe import Observation
from .outlines import raggedness
from .scenes import LEADING_WAVES


@dataclass(frozen=True)
class Looks:
    """right_waves: as many waves per frame height as every prompt's ground has, within 10 %.

    raggedness, ghost, blotches: as the functions of those names say; None where no object is seen.
    """

    right_waves: bool
    raggedness: float | None
    ghost: float | None
    blotches: float


def looks_of(clip: Tensor, seen: Observation) -> Looks:
    """clip: (frames, H, W, 3) in 0..1, at least 9 frames; seen: what was read off it."""
    motion = motion_of_observation(seen, len(clip))
    return Looks(
        right_waves=waves_are_right(clip, LEADING_WAVES),
        raggedness=raggedness(clip),
        ghost=None if motion is None else ghost(clip, motion),
        blotches=blotches(clip),
    )
