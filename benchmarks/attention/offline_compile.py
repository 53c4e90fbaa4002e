"""Compiles kernels for GPUs that this machine need not have, and reads what the compiler reports."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from s2flow_core.kernels.launch_table import Launch

NVIDIA_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
ALIGNED = [["tt.divisibility", 16]]


@dataclass(frozen=True)
class Compiled:
    """What one program costs: registers per thread, bytes spilled per thread, bytes of shared memory.

    cubin: the program, on NVIDIA's chips.
    """

    registers: int
    spilled: int
    shared: int
    cubin: bytes = field(default=b"", repr=False)

    def inner_loops(self, product: str) -> list[list[str]]:
        """The instructions of every loop that holds such products of matrices and no loop of its own."""
        with NamedTemporaryFile(suffix=".cubin") as file:
            file.write(self.cubin)
            file.flush()
            command = [NVIDIA_TOOLS / "cuobjdump", "-sass", file.name]
            text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        lines = re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s+(.*?);", text, re.MULTILINE)
        code = {int(place, 16): instruction for place, instruction in lines}
        jumps = [(place, re.search(r"BRA.*?(0x[0-9a-f]+)", line)) for place, line in code.items()]
        loops = [(int(to[1], 16), place) for place, to in jumps if to is not None and int(to[1], 16) < place]
        bodies = [
            [line for place, line in code.items() if start <= place <= end]
            for start, end in loops
            if not any(start <= s and e <= end and (s, e) != (start, end) for s, e in loops)
        ]
        return [body for body in bodies if any(product in line for line in body)]


def compile_for(
    architecture: str, kernel: Any, types: dict[str, str], constants: dict[str, Any], launch: Launch
) -> Compiled:
    """Compile a kernel for "sm_90", "gfx942", ...

    types: of the arguments that are no int32; pointers and strides count as aligned to 16, as they are in
    real calls.
    """
    signature = {
        name: "constexpr" if name in constants else types.get(name, "i32") for name in kernel.arg_names
    }
    aligned = {
        (place,): ALIGNED
        for place, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*")
        or (name.endswith("_stride") and not kernel.params[place].do_not_specialize)
    }
    nvidia = architecture.startswith("sm_")
    target = GPUTarget("cuda", int(architecture[3:]), 32) if nvidia else GPUTarget("hip", architecture, 64)
    compiled = triton.compile(
        ASTSource(kernel, signature, constants, aligned),
        target=target,
        options={"num_warps": launch.warps, "num_stages": launch.stages},
    )
    read = _read_nvidia if nvidia else _read_amd
    registers, spilled = read(compiled.asm)
    return Compiled(registers, spilled, compiled.metadata.shared, compiled.asm.get("cubin", b""))


def _read_nvidia(asm: dict[str, Any]) -> tuple[int, int]:
    """A kernel without arrays of its own has a stack only for what it spills."""
    with NamedTemporaryFile(suffix=".cubin") as file:
        file.write(asm["cubin"])
        file.flush()
        command = [NVIDIA_TOOLS / "cuobjdump", "--dump-resource-usage", file.name]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (resources,) = re.findall(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", report)
    registers, stack, local = (int(number) for number in resources)
    return registers, stack + local


def _read_amd(asm: dict[str, Any]) -> tuple[int, int]:
    """Four bytes per spilled register; scalar registers spill as well."""

    def number(name: str) -> int:
        (found,) = re.findall(rf"\.{name}:\s+(\d+)", asm["amdgcn"])
        return int(found)

    spilled = number("vgpr_spill_count") + number("sgpr_spill_count")
    return number("vgpr_count"), 4 * spilled + number("private_segment_fixed_size")
