"""Attention by its definition for a few query rows, to hold every fast path against."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from s2flow_core.windows.grid import TokenGrid, Triple


def exact_rows(inputs: Inputs, rows: Tensor, extents: Tensor | None = None) -> Tensor:
    """(B, heads, rows, dim) float32: what these queries see under the windows, or without any.

    Every key is visited, token by token, under a boolean mask; no tile order, no box loop.
    """
    rows = rows.to(inputs.q.device)
    out = torch.empty(*inputs.q.shape[:2], len(rows), inputs.q.shape[3], device=inputs.q.device)
    for head in range(inputs.q.shape[1]):
        visible = None if extents is None else _visible(inputs.grid, rows, extents[head].tolist())
        for item in range(inputs.q.shape[0]):
            q, k, v = (x[item, head].float() for x in (inputs.q[:, :, rows], inputs.k, inputs.v))
            logits = q @ k.T * q.shape[-1] ** -0.5  # (rows, tokens)
            if visible is not None:
                logits = logits.masked_fill(~visible, float("-inf"))
            out[item, head] = logits.softmax(dim=-1) @ v
    return out


def relative_error(result: Tensor, expected: Tensor) -> float:
    """|result - expected| / |expected|."""
    return ((result.float() - expected).norm() / expected.norm()).item()


def _visible(grid: TokenGrid, rows: Tensor, extent: list[int]) -> Tensor:
    """(rows, tokens) bool: keys whose tile lies in the box of the query's tile."""
    visible = torch.ones(len(rows), grid.tokens, dtype=torch.bool, device=rows.device)
    keys = torch.arange(grid.tokens, device=rows.device)
    for axis in range(3):
        query, key = _tile(grid, rows, axis), _tile(grid, keys, axis)
        first = (query - extent[axis] // 2).clamp(min=0, max=grid.tiles[axis] - extent[axis])[:, None]
        visible &= (first <= key) & (key < first + extent[axis])
    return visible


def _tile(grid: TokenGrid, tokens: Tensor, axis: int) -> Tensor:
    """Number of the tile along one axis."""
    _, height, width = grid.shape
    places: tuple[Tensor, Tensor, Tensor] = (
        tokens // (height * width),
        tokens // width % height,
        tokens % width,
    )
    side: Triple = grid.tile
    return places[axis] // side[axis]


@dataclass(frozen=True)
class Inputs:
    """q, k, v: (B, heads, tokens, dim) of one self-attention over a video of `grid`."""

    name: str
    q: Tensor
    k: Tensor
    v: Tensor
    grid: TokenGrid

    @property
    def dense_flops(self) -> float:
        return 4.0 * math.prod(self.q.shape) * self.grid.tokens
