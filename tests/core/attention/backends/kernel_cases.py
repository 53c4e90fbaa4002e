"""Calls that a kernel of windowed attention must compute as the definition does.

The interpreter needs milliseconds per block, so they are tiny. It does not know bfloat16; on a GPU the
kernels are launched in half precision alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import naive_attention as naive
import torch
from hypothesis import strategies as st
from torch import Tensor
from triton_interpreter import ON_A_GPU, on_device

from s2flow_core.attention.call import AttentionCall, VisitedKeys
from s2flow_core.attention.known_masks import KnownMasks
from s2flow_core.attention.window_attention import count_visited_keys
from s2flow_core.kernels.launch_table import Launch
from s2flow_core.windows.grid import TokenGrid

TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 1e-2}
DTYPES = (torch.bfloat16, torch.float16) if ON_A_GPU else (torch.float32, torch.float16)
"""What the kernels are tested in; the first is the one of most cases."""

LAUNCHES = (Launch(16, 16, 4, 1), Launch(64, 32, 4, 1), Launch(32, 64, 4, 1))


@dataclass(frozen=True)
class Case:
    """Everything that can vary in one call."""

    grid: TokenGrid
    extents: tuple[tuple[int, int, int], ...]
    batch: int
    dim: int
    prefix: int
    suffix: int
    mask: str
    dtype: torch.dtype
    tail: bool
    launch: Launch
    seed: int

    def call(self, stats: VisitedKeys | None = None) -> AttentionCall:
        torch.manual_seed(self.seed)
        heads, tokens = len(self.extents), self.prefix + self.grid.tokens + self.suffix
        fused = torch.randn(self.batch, tokens, 3, heads, self.dim).to(self.dtype)
        q, k, v = (x.transpose(1, 2) for x in fused.unbind(2))
        bias = self.bias(tokens)
        text = self.prefix, self.suffix
        return AttentionCall(q, k, v, self.grid, self.extents, *text, bias, self.dim**-0.5, self.tail, stats)

    def bias(self, tokens: int) -> Tensor | None:
        """(B, tokens): nothing, hidden text, or any key hidden and weighted."""
        if self.mask == "none":
            return None
        bias = torch.zeros(self.batch, tokens)
        if self.mask == "text":
            bias[0, tokens - self.suffix // 2 :] = -torch.inf
            return bias
        bias = torch.randn(self.batch, tokens)
        return bias.masked_fill(torch.rand(bias.shape) > 0.6, -torch.inf)


@st.composite
def cases(draw) -> Case:
    shape = draw(st.tuples(st.integers(1, 4), st.integers(3, 9), st.integers(3, 9)))
    grid = TokenGrid(shape, draw(st.sampled_from([(2, 4, 4), (1, 4, 4), (1, 2, 16), (4, 2, 4)])))
    extent = st.tuples(*(st.integers(1, n) for n in grid.tiles))
    return Case(
        grid=grid,
        extents=tuple(draw(st.lists(extent, min_size=1, max_size=2))),
        batch=draw(st.integers(1, 2)),
        dim=draw(st.sampled_from([64, 128])),
        prefix=draw(st.integers(0, 2)),
        suffix=draw(st.integers(0, 19)),
        mask=draw(st.sampled_from(["none", "text", "any"])),
        dtype=draw(st.sampled_from(DTYPES)),
        tail=draw(st.booleans()),
        launch=draw(st.sampled_from(LAUNCHES)),
        seed=draw(st.integers(0, 9999)),
    )


def reference(case: Case) -> Tensor:
    call = case.call()
    boxes = naive.Boxes(case.grid.shape, case.grid.tile, case.extents, case.tail)
    return naive.attention(call.q, call.k, call.v, boxes, case.prefix, call.key_bias)


def relative_error(result: Tensor, expected: Tensor) -> float:
    return ((result.double().cpu() - expected).norm() / expected.norm().clamp_min(1e-12)).item()


def moved(call: AttentionCall) -> AttentionCall:
    """The call where the kernels run; as it is where that is the CPU."""
    q, k, v = (on_device(x) for x in (call.q, call.k, call.v))
    bias, result = (None if x is None else on_device(x) for x in (call.key_bias, call.result))
    return replace(call, q=q, k=k, v=v, key_bias=bias, result=result, masks=KnownMasks())


def assert_right(
    run: Callable[[AttentionCall, Launch], Tensor], case: Case, tolerance: float | None = None
) -> None:
    """run: of a backend; tolerance: what its result may differ by, of its norm, if not by its dtype's."""
    visited = VisitedKeys()
    result = run(moved(case.call(visited)), case.launch).cpu()
    assert result.dtype == case.dtype and not result.isnan().any()
    assert relative_error(result, reference(case)) <= (tolerance or TOLERANCE[case.dtype])
    assert visited.seen == case.batch * count_visited_keys(case.grid, torch.tensor(case.extents)).sum()


BASE = Case(
    TokenGrid((3, 6, 9), (2, 4, 4)), ((1, 1, 2),), 1, 64, 0, 0, "none", DTYPES[0], False, LAUNCHES[2], 0
)
CHANGES: dict[str, dict[str, Any]] = {
    "partial tiles along every axis": {},
    "even and odd extents": {"extents": ((2, 1, 2), (1, 2, 3))},
    "every tile seen": {"extents": ((2, 2, 3),)},
    "tail with text and hidden keys": {"tail": True, "mask": "any", "suffix": 5},
    "several blocks of queries and keys per tile": {"launch": LAUNCHES[0]},
}
DIFFICULT = {name: replace(BASE, **change) for name, change in CHANGES.items()}
