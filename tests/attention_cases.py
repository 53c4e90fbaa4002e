"""Calls of windowed attention that vary in everything they can, and what each must give."""

from __future__ import annotations

from dataclasses import dataclass

import naive_attention as naive
import torch
from hypothesis import strategies as st
from torch import Tensor

from s2flow_core.attention.call import VisitedKeys
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.attention.window_attention import HeadWindows, window_attention
from s2flow_core.windows.grid import TokenGrid

TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 1e-2}


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
    layout: str
    dtype: torch.dtype
    seed: int

    @property
    def heads(self) -> int:
        return len(self.extents)

    @property
    def tokens(self) -> int:
        return self.prefix + self.grid.tokens + self.suffix

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v as (B, heads, tokens, dim) in the memory order of `layout`."""
        torch.manual_seed(self.seed)
        shape = (self.batch, self.tokens, self.heads, self.dim)
        if self.layout == "fused":  # one projection for q, k and v, as most DiTs have it
            fused = torch.randn(self.batch, self.tokens, 3, self.heads, self.dim).to(self.dtype)
            q, k, v = fused.unbind(2)
        else:
            q, k, v = (torch.randn(shape).to(self.dtype) for _ in range(3))
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return (q.contiguous(), k.contiguous(), v.contiguous()) if self.layout == "heads first" else (q, k, v)

    def key_mask(self) -> tuple[Tensor | None, Tensor | None]:
        """The mask as a model would pass it, and the bias per key that it means."""
        torch.manual_seed(self.seed + 1)
        bias = torch.zeros(self.batch, self.tokens)
        if self.mask == "none":
            return None, None
        if self.mask == "text padding":
            if self.suffix > 1:
                bias[:, -(self.suffix // 2) :] = -torch.inf
            return bias[:, None, None, :], bias
        if self.mask == "bool":
            keep = torch.rand(self.batch, self.tokens) > 0.3
            return keep, bias.masked_fill(~keep, -torch.inf)
        bias = torch.randn(1, self.tokens)
        return bias[:, None], bias.expand(self.batch, -1)  # (1, 1, tokens), additive


@st.composite
def cases(draw, dtypes=tuple(TOLERANCE)) -> Case:
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 7)))
    tile = draw(st.sampled_from([(1, 1, 1), (1, 2, 2), (2, 2, 3), (1, 4, 4), (2, 3, 2)]))
    grid = TokenGrid(shape, tile)
    extent = st.tuples(*(st.integers(1, n) for n in grid.tiles))
    return Case(
        grid=grid,
        extents=tuple(draw(st.lists(extent, min_size=1, max_size=3))),
        batch=draw(st.integers(1, 3)),
        dim=draw(st.sampled_from([64, 128])),
        prefix=draw(st.integers(0, 3)),
        suffix=draw(st.integers(0, 5)),
        mask=draw(st.sampled_from(["none", "text padding", "bool", "additive"])),
        layout=draw(st.sampled_from(["heads first", "tokens first", "fused"])),
        dtype=draw(st.sampled_from(dtypes)),
        seed=draw(st.integers(0, 9999)),
    )


def compute(case: Case, backend: str, tail: bool = False, stats: VisitedKeys | None = None) -> Tensor:
    q, k, v = case.tensors()
    return window_attention(
        q,
        k,
        v,
        VideoSequence(case.grid, prefix=case.prefix, suffix=case.suffix, key_mask=case.key_mask()[0]),
        HeadWindows(torch.tensor(case.extents), tail=tail),
        backend=backend,
        stats=stats,
    )


def reference(case: Case, tail: bool = False) -> Tensor:
    boxes = naive.Boxes(case.grid.shape, case.grid.tile, case.extents, tail)
    return naive.attention(*case.tensors(), boxes, case.prefix, case.key_mask()[1])


def relative_error(result: Tensor, expected: Tensor) -> float:
    return ((result.double() - expected).norm() / expected.norm().clamp_min(1e-12)).item()
