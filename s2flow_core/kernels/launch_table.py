"""How the kernels are launched on each GPU generation: data, so that nobody waits for autotuning.

The tests compile every entry for its architecture: no register is spilled, shared memory fits the chip. That
is all these entries were chosen by so far. Those of sm_90 ran on an H100, right and at 500 TFLOP/s; no
alternative has been timed on any chip yet, which `benchmarks.attention --tune` does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

SHARED_MEMORY = {
    "sm_80": 166_912,
    "sm_86": 101_376,
    "sm_89": 101_376,
    "sm_90": 232_448,
    "sm_100": 232_448,
    "sm_120": 101_376,
    "gfx942": 65_536,
}
"""Bytes that one program may use."""

SAME_GENERATION = {
    "sm_87": "sm_86",
    "sm_103": "sm_100",
    "sm_121": "sm_120",
    "gfx90a": "gfx942",
    "gfx950": "gfx942",
}
"""Chips that run another one's configurations."""


@dataclass(frozen=True)
class Launch:
    """Queries and keys per step of a program, its warps, and how many steps' keys are fetched at once.

    half_sums: a block of half-precision values is summed in half precision; some chips do that twice as fast.
    """

    block_m: int
    block_n: int
    warps: int
    stages: int
    half_sums: bool = False

    def for_tile(self, tile_tokens: int) -> Launch:
        """The same with blocks that divide a tile, whose tokens must be a multiple of 16."""
        block_m = min(self.block_m, tile_tokens & -tile_tokens)  # the largest power of two that divides it
        warps = max(1, self.warps * block_m // self.block_m)
        return replace(self.for_keys(tile_tokens), block_m=block_m, warps=warps)

    def for_keys(self, tile_tokens: int) -> Launch:
        """The same with key blocks that divide a tile."""
        return replace(self, block_n=min(self.block_n, tile_tokens & -tile_tokens))


WINDOW_LAUNCHES = {
    ("sm_80", 64): Launch(128, 64, 4, 3),
    ("sm_80", 128): Launch(128, 64, 8, 3),
    ("sm_86", 64): Launch(128, 64, 4, 3),
    ("sm_86", 128): Launch(128, 64, 8, 3),
    ("sm_89", 64): Launch(128, 64, 4, 3),
    ("sm_89", 128): Launch(128, 64, 8, 3),
    ("sm_90", 64): Launch(128, 128, 8, 3),
    ("sm_90", 128): Launch(128, 128, 8, 3),
    ("sm_100", 64): Launch(128, 64, 8, 3),
    ("sm_100", 128): Launch(128, 64, 8, 3),
    ("sm_120", 64): Launch(128, 64, 4, 3),
    ("sm_120", 128): Launch(128, 64, 8, 3),
    ("gfx942", 64): Launch(128, 32, 4, 2),
    ("gfx942", 128): Launch(128, 64, 4, 2),
}
"""(architecture, channels of a head) -> how `window_attention_kernel` is launched."""

PARTIAL_LAUNCHES = {
    ("sm_80", 64): Launch(128, 64, 8, 3),
    ("sm_86", 64): Launch(128, 64, 8, 3),
    ("sm_89", 64): Launch(128, 64, 8, 3),
    ("sm_100", 128): Launch(128, 64, 8, 2),
    ("sm_120", 64): Launch(128, 64, 8, 3),
    ("gfx942", 64): Launch(128, 32, 4, 1),
    ("gfx942", 128): Launch(128, 32, 4, 1),
}
"""What replaces those where tiles are partial or keys have a bias, which takes more registers."""

INT8_LAUNCHES = {
    ("sm_80", 64): Launch(128, 64, 8, 3),
    ("sm_80", 128): Launch(128, 64, 8, 3),
    ("sm_86", 64): Launch(128, 64, 8, 3, half_sums=True),
    ("sm_86", 128): Launch(128, 64, 8, 3, half_sums=True),
    ("sm_89", 64): Launch(128, 64, 8, 3, half_sums=True),
    ("sm_89", 128): Launch(128, 64, 8, 3, half_sums=True),
    ("sm_90", 64): Launch(128, 64, 8, 3),
    ("sm_90", 128): Launch(128, 64, 8, 3),
    ("sm_120", 64): Launch(128, 64, 8, 3, half_sums=True),
    ("sm_120", 128): Launch(128, 64, 8, 3, half_sums=True),
}
"""The same with queries and keys in eight bits."""

INT8_PARTIAL_LAUNCHES = {
    ("sm_80", 128): Launch(128, 32, 8, 3),
    ("sm_120", 128): Launch(128, 32, 8, 3, half_sums=True),
}
"""What replaces those where tiles are partial or keys have a bias."""

REACH_LAUNCHES = {
    ("sm_80", 64): Launch(128, 64, 4, 2),
    ("sm_80", 128): Launch(128, 64, 8, 2),
    ("sm_86", 64): Launch(128, 64, 4, 2),
    ("sm_86", 128): Launch(128, 64, 8, 2),
    ("sm_89", 64): Launch(128, 64, 4, 2),
    ("sm_89", 128): Launch(128, 64, 8, 2),
    ("sm_90", 64): Launch(128, 128, 8, 1),
    ("sm_90", 128): Launch(128, 128, 8, 1),
    ("sm_100", 64): Launch(128, 64, 8, 2),
    ("sm_100", 128): Launch(128, 64, 8, 1),
    ("sm_120", 64): Launch(128, 64, 4, 2),
    ("sm_120", 128): Launch(128, 64, 8, 2),
    ("gfx942", 64): Launch(128, 32, 8, 1),
    ("gfx942", 128): Launch(128, 32, 8, 1),
}
"""The same for `tile_sums_kernel`."""


MEANS_LAUNCH = Launch(1, 32, 4, 1)
"""How `tile_means_kernel` is launched on every chip: it only reads, so memory decides."""


def window_launch(architecture: str, dim: int, partial: bool = False) -> Launch | None:
    """How windowed attention is launched on a chip; None if the chip or the head size is not known.

    partial: some tiles reach over the video's end, or its keys have a bias.
    """
    entry = SAME_GENERATION.get(architecture, architecture), dim
    usual = WINDOW_LAUNCHES.get(entry)
    return PARTIAL_LAUNCHES.get(entry, usual) if partial else usual


def int8_launch(architecture: str, dim: int, partial: bool = False) -> Launch | None:
    """How windowed attention in eight bits is launched, as `window_launch` tells for 16."""
    entry = SAME_GENERATION.get(architecture, architecture), dim
    usual = INT8_LAUNCHES.get(entry)
    return INT8_PARTIAL_LAUNCHES.get(entry, usual) if partial else usual


def reach_launch(architecture: str, dim: int) -> Launch | None:
    """How tile masses are measured on a chip; None if the chip or the head size is not known."""
    return REACH_LAUNCHES.get((SAME_GENERATION.get(architecture, architecture), dim))
