"""Every shipped launch configuration compiles for its chip, spills nothing and fits its shared memory.

Needs no GPU: Triton brings the compilers for all of them. What was compiled once is cached on disk.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from s2flow_core.kernels.launch_table import (
    REACH_LAUNCHES,
    SHARED_MEMORY,
    WINDOW_LAUNCHES,
    Launch,
)
from s2flow_core.windows.grid import Triple

triton = pytest.importorskip("triton", reason="Triton is not installed; it exists for Linux and Windows only")

WINDOW_TYPES = {
    **dict.fromkeys(("q", "k", "v", "out", "extra_k", "extra_v"), "*bf16"),
    **dict.fromkeys(("slot_bias", "extra_bias"), "*fp32"),
    **dict.fromkeys(("windows", "extra_places"), "*i32"),
    **dict.fromkeys(("q_batch_stride", "out_batch_stride"), "i64"),  # of two large videos
    "scale": "fp32",
}
REACH_TYPES = {
    **dict.fromkeys(("q", "k", "values"), "*bf16"),
    **dict.fromkeys(("bias", "lse_out", "means_out"), "*fp32"),
    "scale": "fp32",
}
ARCHITECTURES = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120", "gfx942")
ENTRIES = [(architecture, dim) for architecture in ARCHITECTURES for dim in (64, 128)]


def constants(launch: Launch, dim: int, tile: Triple = (2, 8, 8)) -> dict[str, Any]:
    sides = dict(zip(("TILE_T", "TILE_H", "TILE_W"), tile, strict=True))
    return {**sides, "DIM": dim, "BLOCK_M": launch.block_m, "BLOCK_N": launch.block_n}


def assert_fits(compiled, architecture: str) -> None:
    assert compiled.spilled == 0
    assert compiled.shared <= SHARED_MEMORY[architecture]


@pytest.mark.parametrize(("architecture", "dim"), ENTRIES)
def test_windows_with_partial_tiles_masks_and_text(architecture: str, dim: int, record_property):
    """The variant that needs most registers."""
    compiled = compile_windows(architecture, dim, (2, 8, 8), everything=True)
    record_property("compiled", str(compiled))
    assert_fits(compiled, architecture)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_windows_of_whole_tiles_alone(architecture: str, record_property):
    """The variant that large videos use."""
    compiled = compile_windows(architecture, 128, (2, 8, 8), everything=False)
    record_property("compiled", str(compiled))
    assert_fits(compiled, architecture)


@pytest.mark.parametrize("tile", [(1, 8, 8), (1, 4, 4)])
def test_windows_of_small_tiles(tile: Triple, record_property):
    """What small videos are cut into."""
    compiled = compile_windows("sm_90", 128, tile, everything=True)
    record_property("compiled", str(compiled))
    assert_fits(compiled, "sm_90")


@pytest.mark.parametrize(("architecture", "dim"), ENTRIES)
@pytest.mark.parametrize("channels", [0, 8])
def test_reach(architecture: str, dim: int, channels: int, record_property):
    """Without values, and with the projected values that output errors are measured with."""
    from offline_compile import compile_for

    from s2flow_core.kernels.tile_sums_kernel import tile_sums_kernel

    launch = REACH_LAUNCHES[architecture, dim]
    options = {**constants(launch, dim), "BIASED": True, "CHANNELS": channels, "COLUMNS": 2 * channels}
    compiled = compile_for(architecture, tile_sums_kernel, REACH_TYPES, options, launch)
    record_property("compiled", str(compiled))
    assert_fits(compiled, architecture)


def compile_windows(architecture: str, dim: int, tile: Triple, everything: bool):
    from offline_compile import compile_for

    from s2flow_core.kernels.window_kernel import window_attention_kernel

    launch = WINDOW_LAUNCHES[architecture, dim].for_tile(math.prod(tile))
    options = {**constants(launch, dim, tile), "BIASED": everything, "EXTRA": everything}
    if not everything:
        options |= dict.fromkeys(("slot_bias", "extra_k", "extra_v", "extra_bias", "extra_places"))
    return compile_for(architecture, window_attention_kernel, WINDOW_TYPES, options, launch)
