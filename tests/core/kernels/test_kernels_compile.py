"""Every shipped launch configuration compiles for its chip, spills nothing and fits its shared memory.

Needs no GPU: Triton brings the compilers for all of them. What was compiled once is cached on disk.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from s2flow_core.kernels.launch_table import (
    MEANS_LAUNCH,
    REACH_LAUNCHES,
    SHARED_MEMORY,
    Launch,
    window_launch,
)
from s2flow_core.windows.grid import Triple

triton = pytest.importorskip("triton", reason="Triton is not installed; it exists for Linux and Windows only")

WINDOW_TYPES = {
    **dict.fromkeys(("q", "k", "v", "out", "extra_k", "extra_v"), "*bf16"),
    **dict.fromkeys(("video_bias", "extra_bias"), "*fp32"),
    **dict.fromkeys(("windows", "extra_places"), "*i32"),
    # Of two large videos.
    **dict.fromkeys([f"{tensor}_batch_stride" for tensor in ("q", "k", "v", "out")], "i64"),
    "scale": "fp32",
}
REACH_TYPES = {
    **dict.fromkeys(("q", "k", "values"), "*bf16"),
    **dict.fromkeys(("bias", "lse_out", "means_out"), "*fp32"),
    "scale": "fp32",
}
MEANS_TYPES = {
    **dict.fromkeys(("k", "v", "k_out", "v_out"), "*bf16"),
    **dict.fromkeys(("bias", "log_out"), "*fp32"),
    **dict.fromkeys([f"{tensor}_batch_stride" for tensor in ("k", "v", "out")], "i64"),
}
ARCHITECTURES = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120", "gfx942")
ENTRIES = [(architecture, dim) for architecture in ARCHITECTURES for dim in (64, 128)]


def constants(launch: Launch, dim: int, tile: Triple = (2, 8, 8)) -> dict[str, Any]:
    sides = dict(zip(("TILE_T", "TILE_H", "TILE_W"), tile, strict=True))
    return {**sides, "DIM": dim, "BLOCK_M": launch.block_m, "BLOCK_N": launch.block_n}


def assert_fits(compiled, architecture: str) -> None:
    assert compiled.spilled == 0
    assert compiled.shared <= SHARED_MEMORY[architecture]


VARIANTS = {
    "whole tiles": (False, False, False),
    "whole tiles and text": (False, False, True),
    "partial tiles": (True, False, False),
    "partial tiles and text": (True, False, True),
    "masked video": (True, True, False),
    "masked video and text": (True, True, True),
}
"""PARTIAL, BIASED and EXTRA as calls have them; a tail counts as text."""


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize(("architecture", "dim"), ENTRIES)
def test_windows(architecture: str, dim: int, dtype: str, record_property):
    """In every variant; half precision in the one that needs most registers."""
    for name, variant in VARIANTS.items():
        if dtype == "bf16" or name == "masked video and text":
            compiled = compile_windows(architecture, dim, (2, 8, 8), variant, dtype)
            record_property(name, str(compiled))
            assert_fits(compiled, architecture)


@pytest.mark.parametrize("variant", ["whole tiles", "partial tiles and text"])
def test_the_inner_loop_on_hopper_is_short_and_waits_for_no_load(variant: str):
    """Two blocks of keys are under way while one is multiplied, and no product waits for the one before."""
    compiled = compile_windows("sm_90", 128, (2, 8, 8), VARIANTS[variant], "bf16")
    loops = compiled.inner_loops("HGMMA")
    assert len(loops) == (1 if variant == "whole tiles" else 3)
    assert len(loops[0]) <= 540
    for loop in loops:
        assert sum("WARPGROUP.DEPBAR" in line for line in loop) == 1
        assert any("DEPBAR.LE SB0, 0x2" in line for line in loop)


@pytest.mark.parametrize("tile", [(1, 8, 16), (1, 16, 8), (2, 4, 16), (4, 4, 8), (1, 8, 8), (1, 4, 4)])
def test_windows_of_other_tiles(tile: Triple, record_property):
    compiled = compile_windows("sm_90", 128, tile, VARIANTS["partial tiles and text"], "bf16")
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


@pytest.mark.parametrize(("architecture", "dim"), ENTRIES)
@pytest.mark.parametrize("masked", [False, True])
def test_tile_means(architecture: str, dim: int, masked: bool, record_property):
    from offline_compile import compile_for

    from s2flow_core.kernels.tile_means_kernel import tile_means_kernel

    options = constants(MEANS_LAUNCH, dim) | {"BIASED": masked}
    del options["BLOCK_M"]
    if not masked:
        options |= {"bias": None, "log_out": None}
    compiled = compile_for(architecture, tile_means_kernel, MEANS_TYPES, options, MEANS_LAUNCH)
    record_property("compiled", str(compiled))
    assert_fits(compiled, architecture)


def compile_windows(architecture: str, dim: int, tile: Triple, variant: tuple[bool, bool, bool], dtype: str):
    from offline_compile import compile_for

    from s2flow_core.kernels.window_kernel import window_attention_kernel

    partial, biased, extra = variant
    launch = window_launch(architecture, dim, partial)
    assert launch is not None
    launch = launch.for_tile(math.prod(tile))
    options = {**constants(launch, dim, tile), "PARTIAL": partial, "BIASED": biased, "EXTRA": extra}
    if not extra:
        options |= dict.fromkeys(("extra_k", "extra_v", "extra_bias", "extra_places"))
    if not biased:
        options |= {"video_bias": None}
    types = {name: kind.replace("bf16", dtype) for name, kind in WINDOW_TYPES.items()}
    return compile_for(architecture, window_attention_kernel, types, options, launch)
