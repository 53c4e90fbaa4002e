"""What the demo's clips look like."""

from __future__ import annotations

from dataclasses import dataclass

# (waves per unit, amplitude), the slowest first.
Octaves = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Joints:
    """Fine straight lines of a ground, in two directions at right angles, at any angle to the frame."""

    spacing: float  # frame heights between lines
    width: float  # frame heights
    depth: float  # how much darker than the ground


@dataclass(frozen=True)
class Style:
    """How scenes are drawn and rendered; every range is (low, high).

    radius: share of the frame's shorter edge. travel: share of the frame's edge along the motion.
    across: where the path lies, as a share of the edge across it. sway: how far the path bends aside, in
    radii. ease: how much the speed changes on the way, 0 is steady, 1 stops for a moment.
    object_octaves count waves per object radius, ground octaves waves per frame height.
    ground_scale: how much finer a scene's ground is than its octaves say, middle values oftenest. So a
    wave at a size that a model never saw is no longer, in its tokens, than those it knows, as in real videos.
    cross_octaves: a ground's second, finer scale across its first. light: how much brighter the object is on
    its upper left side and darker on the other.
    joints: lines of the ground by its name.
    """

    radius: tuple[float, float]
    travel: tuple[float, float]
    middle: float
    across: tuple[float, float]
    sway: float
    ease: float
    ground_octaves: Octaves
    ground_scale: tuple[float, float]
    cross_octaves: Octaves
    object_octaves: Octaves
    light: float
    joints: dict[str, Joints]

    @property
    def leading_waves(self) -> tuple[float, float]:
        """Waves per frame height that lead in a ground, fewest and most."""
        low, high = self.ground_scale
        return low * self.ground_octaves[0][0], high * self.ground_octaves[0][0]


# Stone is a quarter of all clips and carries what upscalers are bought for: fine lines at all angles.
STYLE = Style(
    radius=(0.14, 0.23),
    travel=(0.3, 0.5),
    middle=0.03,
    across=(0.44, 0.56),
    sway=0.25,
    ease=0.5,
    # Energy falls with every octave, as in photographs; so one wave clearly leads.
    ground_octaves=((8.0, 0.065), (16.0, 0.042), (32.0, 0.03)),
    ground_scale=(0.45, 1.8),
    cross_octaves=((20.0, 0.03),),
    # With the light no stronger than the texture: the dark side of white must not pass for sand.
    object_octaves=((1.2, 0.08), (2.4, 0.06), (4.8, 0.05)),
    light=0.12,
    joints={"stone": Joints(spacing=0.3, width=0.012, depth=0.16)},
)
