"""The shipped kernels of windowed attention, compiled for chips that this machine need not have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from typing import TYPE_CHECKING, Any

from benchmarks.common.tables import Table
from s2flow_core.kernels.launch_table import SHARED_MEMORY, Launch, int8_launch, window_launch
from s2flow_core.windows.grid import Triple

if TYPE_CHECKING:
    from benchmarks.attention.offline_compile import Compiled

ARCHITECTURES = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120", "gfx942")
INT8_ARCHITECTURES = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_120")
DIMS = (64, 128)
PRODUCT = {"sm_90": "HGMMA", "sm_100": "UTCHMMA"}
"""What a product of matrices is called in NVIDIA's machine code; elsewhere it is HMMA."""

_TYPES = {
    **dict.fromkeys(("q", "k", "v", "out", "extra_k", "extra_v"), "*bf16"),
    **dict.fromkeys(("slot_bias", "extra_bias", "k_means", "k_scales"), "*fp32"),
    **dict.fromkeys(("windows", "extra_places"), "*i32"),
    # Of two large videos.
    **dict.fromkeys([f"{tensor}_batch_stride" for tensor in ("q", "k", "v", "out")], "i64"),
    "scale": "fp32",
}


@dataclass(frozen=True)
class Variant:
    """What of a call makes the kernel run other code.

    partial: tiles reach over the video's end, or keys have a bias; extra: every query sees text, or the tail;
    dtype: "bf16" or "fp16"; int8: queries and keys in eight bits.
    """

    partial: bool = False
    extra: bool = False
    dtype: str = "bf16"
    int8: bool = False

    def __str__(self) -> str:
        parts = ["partial tiles or mask" if self.partial else "whole tiles", *["text or tail"] * self.extra]
        return ", ".join([*parts, self.dtype, *["int8"] * self.int8])

    def launch(self, architecture: str, dim: int) -> Launch:
        """How it is launched there; KeyError if it is not."""
        launched = int8_launch if self.int8 else window_launch
        found = launched(architecture, dim, self.partial)
        if found is None:
            raise KeyError(f"{self} is not launched on {architecture} with {dim} channels.")
        return found


ALL = tuple(Variant(partial, extra) for partial in (False, True) for extra in (False, True))


def variants_on(architecture: str) -> tuple[Variant, ...]:
    """All that is shipped for a chip. Half precision in the simplest and in the one of most registers, and in
    eight bits everywhere, because its sums differ there."""
    kinds = [*ALL, Variant(True, True, "fp16")]
    if architecture in INT8_ARCHITECTURES:
        kinds += [Variant(v.partial, v.extra, dtype, True) for v in ALL for dtype in ("bf16", "fp16")]
    return tuple(kinds)


def compile_windows(architecture: str, dim: int, variant: Variant, tile: Triple = (2, 8, 8)) -> Compiled:
    """The kernel of one variant, compiled as it is launched."""
    from benchmarks.attention.offline_compile import compile_for
    from s2flow_core.kernels.window_kernel import window_attention_kernel

    launch = variant.launch(architecture, dim).for_tile(math.prod(tile))
    types = {name: kind.replace("bf16", variant.dtype) for name, kind in _TYPES.items()}
    constants: dict[str, Any] = tile_constants(launch, dim, tile) | {
        "BLOCK_M": launch.block_m,
        "PARTIAL": variant.partial,
        "EXTRA": variant.extra,
        "INT8": variant.int8,
        "HALF_SUMS": launch.half_sums and variant.dtype == "fp16",
    }
    if variant.int8:
        types["k"] = "*i8"
    missing = dict.fromkeys(("k_means", "k_scales"), variant.int8) | {"slot_bias": variant.partial}
    missing |= dict.fromkeys(("extra_k", "extra_v", "extra_bias", "extra_places"), variant.extra)
    constants |= {name: None for name, given in missing.items() if not given}
    return compile_for(architecture, window_attention_kernel, types, constants, launch)


def compile_int8_keys(architecture: str, dim: int, dtype: str, tile: Triple = (2, 8, 8)) -> Compiled:
    """The kernel that rounds the keys, as it is launched."""
    from benchmarks.attention.offline_compile import compile_for
    from s2flow_core.kernels.int8_kernel import int8_keys_kernel

    launch = Variant(dtype=dtype, int8=True).launch(architecture, dim).for_tile(math.prod(tile))
    types = {"k": f"*{dtype}", "means": "*fp32", "windows": "*i32", "keys_out": "*i8", "scales_out": "*fp32"}
    types["k_batch_stride"] = "i64"
    constants = tile_constants(launch, dim, tile)
    return compile_for(architecture, int8_keys_kernel, types, constants, Launch(0, 0, 4, 3))


def tile_constants(launch: Launch, dim: int, tile: Triple) -> dict[str, Any]:
    """What every kernel that reads tiles is compiled with."""
    sides = dict(zip(("TILE_T", "TILE_H", "TILE_W"), tile, strict=True))
    return {**sides, "DIM": dim, "BLOCK_N": launch.block_n}


def inner_loop(compiled: Compiled, architecture: str) -> list[str]:
    """The instructions of the loop over whole tiles, where the time goes."""
    loops = compiled.inner_loops(PRODUCT.get(architecture, "HMMA"))
    return loops[0]


def compile_table(architectures: tuple[str, ...] = ARCHITECTURES) -> tuple[Table, list[str]]:
    """What every shipped variant costs on every chip, and a sentence where one spills or does not fit."""
    columns = ["chip", "channels", "variant", "registers", "spilled bytes", "shared bytes", "inner loop"]
    table = Table(
        "Kernels as compiled",
        columns,
        note="Inner loop: instructions of a warp per block of keys; counted on NVIDIA's chips.",
    )
    problems: list[str] = []
    if find_spec("triton") is None:
        table.note = "Triton is not installed."
        return table, problems
    for architecture, dim in product(architectures, DIMS):
        for variant in variants_on(architecture):
            found = compile_windows(architecture, dim, variant)
            loop = len(inner_loop(found, architecture)) if architecture.startswith("sm_") else ""
            facts = (found.registers, found.spilled, found.shared, loop)
            table.add(architecture, dim, str(variant), *facts)
            if found.spilled or found.shared > SHARED_MEMORY[architecture]:
                problems.append(f"{architecture}, {dim} channels, {variant}: {found}.")
    return table, problems
