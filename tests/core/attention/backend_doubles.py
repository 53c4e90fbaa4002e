"""Stand-ins for kernels that no test machine has: right, wrong, broken or missing ones."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor

from s2flow_core.attention import choice
from s2flow_core.attention.backends import torch_boxes
from s2flow_core.attention.call import AttentionCall
from s2flow_core.attention.registry import BACKENDS, Backend
from s2flow_core.windows.grid import TokenGrid


def a_call(grid: TokenGrid, extents, dim: int = 64, dtype=torch.float32, tail: bool = False, batch: int = 1):
    """Random q, k and v."""
    generator = torch.Generator().manual_seed(3)
    q, k, v = (
        torch.randn(batch, len(extents), grid.tokens, dim, generator=generator).to(dtype) for _ in range(3)
    )
    return AttentionCall(q, k, v, grid, tuple(extents), 0, 0, None, dim**-0.5, tail)


def a_large_call(grid: TokenGrid, extents, dim: int = 64, dtype=torch.float32, tail: bool = False):
    """Of any size, without memory: every number is the same one."""
    q = torch.zeros(1, dtype=dtype).expand(1, len(extents), grid.tokens, dim)
    return AttentionCall(q, q, q, grid, tuple(extents), 0, 0, None, dim**-0.5, tail)


def add_kernel(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[AttentionCall], Tensor] | None, eight_bits: bool = False
) -> Backend:
    """A kernel that no device has proven, known to `auto` before all others; without code if run is None."""
    name = "missing" if run is None else "doubled"
    if run is not None:
        module = ModuleType(f"s2flow_core.attention.backends.{name}")
        module.__dict__["run"] = run
        monkeypatch.setitem(sys.modules, module.__name__, module)
    backend = Backend(name, f".backends.{name}", eight_bits=eight_bits)
    monkeypatch.setattr(choice, "BACKENDS", {name: backend} | in_torch_alone(monkeypatch))
    return backend


def in_torch_alone(monkeypatch: pytest.MonkeyPatch) -> dict[str, Backend]:
    """Leaves `auto` the backends that need nothing but torch."""
    known = {name: backend for name, backend in BACKENDS.items() if name in IN_TORCH}
    monkeypatch.setattr(choice, "BACKENDS", known)
    return known


IN_TORCH = ("dense", "torch_boxes")


def right(call: AttentionCall) -> Tensor:
    return torch_boxes.run(call)


def wrong_in_one_row(call: AttentionCall) -> Tensor:
    """As if one query of each head read another tile's keys."""
    out = torch_boxes.run(call)
    out[:, :, 3] = out[:, :, -1]
    return out


def not_a_number(call: AttentionCall) -> Tensor:
    out = torch_boxes.run(call)
    out[0, 0, 0, 0] = torch.nan
    return out


def raises(call: AttentionCall) -> Tensor:
    raise RuntimeError("no kernel image is available for execution on the device\nmore")


def speeds(monkeypatch, **of: float) -> list[str]:
    """Sets what is measured, in operations per second; returns the names that were asked for. What is not
    named fails."""
    asked: list[str] = []

    def rate(computes, call):
        asked.append(computes.name)
        return of.get(computes.name.replace(" ", "_"), 0.0)

    monkeypatch.setattr(choice, "_SMALL_CPU_FLOPS", 0.0)
    monkeypatch.setattr(choice, "rate", rate)
    return asked
