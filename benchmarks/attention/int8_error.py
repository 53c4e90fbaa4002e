"""What windows lose by queries and keys in eight bits, on random numbers and on the small model's own.

Measured with the kernel itself, on a GPU or in Triton's interpreter, which needs a process of its own:
Triton decides when a kernel is defined whether it is compiled.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from benchmarks.attention.inputs import QKV, CapturedRun, spread_extents
from benchmarks.common.exact_attention import relative_error
from benchmarks.common.tables import Table
from s2flow_core.attention.backends import torch_boxes
from s2flow_core.attention.call import AttentionCall
from s2flow_core.kernels.launch_table import Launch
from s2flow_core.windows.extents import extent_triples
from s2flow_core.windows.grid import TokenGrid, Triple

MOST_ON_ACTIVATIONS, MOST_ON_RANDOM = 1e-2, 2e-2
TITLE = "Error of windows in eight bits"
_TILE: Triple = (1, 8, 8)
_DENSITY = 0.25
_LAUNCH = Launch(64, 64, 4, 1)
_SUMS = {
    "cpu": {"single": torch.float32, "half": torch.float16},
    "cuda": {"single, of bfloat16": torch.bfloat16, "as launched, of float16": torch.float16},
}
"""Precision of the sums of a block's values -> that of the numbers; the interpreter knows no bfloat16, and a
GPU is given no float32."""


def int8_error_table(run: CapturedRun, device: str) -> tuple[Table, list[str]]:
    """The table, and a sentence where eight bits lose more than they may."""
    table = Table(
        TITLE,
        ["numbers", "values summed in", "layers", "mean error", "largest"],
        note="Relative L2 to the same windows in float32 by torch; the kernel "
        + ("on the GPU." if device == "cuda" else "in Triton's interpreter."),
    )
    problems: list[str] = []
    tokens = TokenGrid(run.high_grid).tokens
    heads, dim = run.low[0][0][0].shape[1], run.low[0][0][0].shape[3]
    random = torch.randn(3, 1, heads, tokens, dim, generator=torch.Generator().manual_seed(0))
    for sums, dtype in _SUMS[device].items():
        steps = run.high if sums.startswith("single") else {max(run.high): run.high[max(run.high)]}
        cases = {f"{run.source}, step {step}": layers for step, layers in steps.items()}
        cases["random"] = [(random[0], random[1], random[2])]
        for name, errors in errors_of(cases, run.high_grid, dtype, device).items():
            table.add(name, sums, len(errors), sum(errors) / len(errors), max(errors))
            most = MOST_ON_RANDOM if name.startswith("random") else MOST_ON_ACTIVATIONS
            if not max(errors) <= most:
                problems.append(f"{name}: eight bits are off by {max(errors):.2g}, more than {most}.")
    return table, problems


def errors_of(
    cases: dict[str, list[QKV]], shape: Triple, dtype: torch.dtype, device: str
) -> dict[str, list[float]]:
    """Name -> relative error of every layer, in this process or in one with the interpreter."""
    if device == "cuda" or os.environ.get("TRITON_INTERPRET") == "1":
        return {
            name: [error_of(qkv, shape, dtype, device) for qkv in layers] for name, layers in cases.items()
        }
    with TemporaryDirectory() as folder:
        file = Path(folder) / "cases.pt"
        torch.save((cases, shape, dtype), file)
        command = [sys.executable, "-m", "benchmarks.attention.int8_error", str(file)]
        root = Path(__file__).resolve().parents[2]
        subprocess.run(command, cwd=root, env={**os.environ, "TRITON_INTERPRET": "1"}, check=True)
        return torch.load(file)


def error_of(qkv: QKV, shape: Triple, dtype: torch.dtype, device: str) -> float:
    """Of one layer: the kernel's windows to torch's in float32, of the same numbers."""
    from s2flow_core.attention.backends import triton_windows_int8

    grid = TokenGrid(shape, _TILE)
    q, k, v = (x.to(device, dtype) for x in qkv)
    extents = extent_triples(spread_extents(grid, _DENSITY, q.shape[1]))
    call = AttentionCall(q, k, v, grid, extents, 0, 0, None, q.shape[3] ** -0.5, False)
    exact: Tensor = torch_boxes.run(replace(call, q=q.float(), k=k.float(), v=v.float()))
    launch = None if device == "cuda" else replace(_LAUNCH, half_sums=dtype == torch.float16)
    return relative_error(triton_windows_int8.run(call, launch), exact)


def main(file: str) -> None:
    """In the interpreter's process: the cases in `file` are replaced by their errors."""
    cases, shape, dtype = torch.load(file)
    with torch.inference_mode():
        torch.save(errors_of(cases, shape, dtype, "cpu"), file)


if __name__ == "__main__":
    main(sys.argv[1])
