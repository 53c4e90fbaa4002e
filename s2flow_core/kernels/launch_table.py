"""How the kernels are launched on each GPU generation: data, so that no artist waits for autotuning.

Every entry is compiled by the tests for its architecture: no register spills, shared memory within the
chip's limit.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Launch:
    """Queries and keys per step of a program, its warps, and how many steps ahead keys are fetched."""

    block_m: int
    block_n: int
    warps: int
    stages: int

    def for_tile(self, tile_tokens: int) -> Launch:
        """Blocks that divide a tile; tile_tokens must be a multiple of 16."""
        even = tile_tokens & -tile_tokens  # the largest power of two in it
        return Launch(min(self.block_m, even), min(self.block_n, even), self.warps, self.stages)
