"""Every shipped launch configuration compiles for its chip, spills nothing and fits its shared memory.

Needs no GPU: Triton brings the compilers for all of them. What was compiled once is cached on disk.
"""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.attention.compiled_kernels import (
    ARCHITECTURES,
    DIMS,
    INT8_ARCHITECTURES,
    Variant,
    compile_int8_keys,
    compile_windows,
    tile_constants,
    variants_on,
)
from s2flow_core.kernels.launch_table import MEANS_LAUNCH, REACH_LAUNCHES, SHARED_MEMORY
from s2flow_core.windows.grid import Triple

triton = pytest.importorskip("triton", reason="Triton is not installed; it exists for Linux and Windows only")

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
ENTRIES = [(architecture, dim) for architecture in ARCHITECTURES for dim in DIMS]
INT8_ENTRIES = [(architecture, dim) for architecture in INT8_ARCHITECTURES for dim in DIMS]


def assert_fits(compiled: Any, architecture: str) -> None:
    assert compiled.spilled == 0
    assert compiled.shared <= SHARED_MEMORY[architecture]


@pytest.mark.parametrize(
    ("architecture", "dim", "int8"),
    [(*entry, False) for entry in ENTRIES] + [(*entry, True) for entry in INT8_ENTRIES],
)
def test_windows(architecture: str, dim: int, int8: bool, record_property):
    variants = [variant for variant in variants_on(architecture) if variant.int8 is int8]
    assert len(variants) == (8 if int8 else 5)
    for variant in variants:
        compiled = compile_windows(architecture, dim, variant)
        record_property(str(variant), str(compiled))
        assert_fits(compiled, architecture)


@pytest.mark.parametrize("variant", [Variant(), Variant(True, True)], ids=str)
def test_the_inner_loop_on_hopper_is_short_and_waits_for_no_load(variant: Variant):
    """Two blocks of keys are under way while one is multiplied, and no product waits for the one before.

    Ten of the instructions keep enormous logits from overflowing, five per row of a thread.
    """
    compiled = compile_windows("sm_90", 128, variant)
    loops = compiled.inner_loops("HGMMA")
    assert len(loops) == (3 if variant.partial else 1)
    assert len(loops[0]) <= 545
    for loop in loops:
        assert sum("WARPGROUP.DEPBAR" in line for line in loop) == 1
        assert any("DEPBAR.LE SB0, 0x2" in line for line in loop)


@pytest.mark.parametrize("int8", [False, True], ids=["16 bits", "8 bits"])
@pytest.mark.parametrize("tile", [(1, 8, 16), (1, 16, 8), (2, 4, 16), (4, 4, 8), (1, 8, 8), (1, 4, 4)])
def test_windows_of_other_tiles(tile: Triple, int8: bool, record_property):
    compiled = compile_windows("sm_90", 128, Variant(True, True, int8=int8), tile)
    record_property("compiled", str(compiled))
    assert_fits(compiled, "sm_90")


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize(("architecture", "dim"), INT8_ENTRIES)
def test_rounding_of_keys(architecture: str, dim: int, dtype: str):
    assert_fits(compile_int8_keys(architecture, dim, dtype), architecture)


@pytest.mark.parametrize(("architecture", "dim"), ENTRIES)
@pytest.mark.parametrize("channels", [0, 8])
def test_reach(architecture: str, dim: int, channels: int, record_property):
    """Without values, and with the projected values that output errors are measured with."""
    from benchmarks.attention.offline_compile import compile_for
    from s2flow_core.kernels.tile_sums_kernel import tile_sums_kernel

    launch = REACH_LAUNCHES[architecture, dim]
    options: dict[str, Any] = tile_constants(launch, dim, (2, 8, 8)) | {"BLOCK_M": launch.block_m}
    options |= {"BIASED": True, "CHANNELS": channels, "COLUMNS": 2 * channels}
    compiled = compile_for(architecture, tile_sums_kernel, REACH_TYPES, options, launch)
    record_property("compiled", str(compiled))
    assert_fits(compiled, architecture)


@pytest.mark.parametrize(("architecture", "dim"), ENTRIES)
@pytest.mark.parametrize("masked", [False, True])
def test_tile_means(architecture: str, dim: int, masked: bool, record_property):
    from benchmarks.attention.offline_compile import compile_for
    from s2flow_core.kernels.tile_means_kernel import tile_means_kernel

    options = tile_constants(MEANS_LAUNCH, dim, (2, 8, 8)) | {"BIASED": masked}
    if not masked:
        options |= {"bias": None, "log_out": None}
    compiled = compile_for(architecture, tile_means_kernel, MEANS_TYPES, options, MEANS_LAUNCH)
    record_property("compiled", str(compiled))
    assert_fits(compiled, architecture)
