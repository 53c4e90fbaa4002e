"""Attention mass per key tile in one Triton launch over all heads."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..grid import TokenGrid
from ..kernels.launch_table import Launch, reach_launch
from ..kernels.reach import tile_lse_kernel
from .architecture import architecture_of

_LOG2_E = math.log2(math.e)
_SMALLEST_BLOCK = 16
_DIMS = (64, 128)
_DTYPES = (torch.float16, torch.bfloat16)


def refuses(queries: Tensor, grid: TokenGrid) -> str | None:
    """Why the kernel cannot measure these queries, as a sentence; None if it can."""
    architecture, dim, tile = architecture_of(queries.device), queries.shape[-1], grid.tile_tokens
    if reach_launch(architecture, dim) is None:
        return f"it is built for heads of {_DIMS} channels on known GPUs, not for {dim} on {architecture}."
    if queries.dtype not in _DTYPES:
        return f"it computes in half precision, and this model uses {queries.dtype}."
    if tile % _SMALLEST_BLOCK:
        return f"it needs tiles of 16, 32, 48 ... tokens, and this video is cut into tiles of {tile}."
    return None


def tile_mass(
    q: Tensor, k: Tensor, bias: Tensor | None, grid: TokenGrid, scale: float, launch: Launch | None = None
) -> Tensor:
    """(heads, rows, tiles) float32; see `TileMass`. `launch` replaces the shipped configuration."""
    lse = tile_lse(q, k, bias, grid, scale, launch)
    return (lse * math.log(2.0)).softmax(dim=-1)


def tile_lse(
    q: Tensor, k: Tensor, bias: Tensor | None, grid: TokenGrid, scale: float, launch: Launch | None = None
) -> Tensor:
    """(heads, rows, tiles) float32: log2 of the sum of exp(logit) over each tile's tokens."""
    heads, rows, dim = q.shape
    launch = launch or reach_launch(architecture_of(q.device), dim)
    if launch is None:
        raise ValueError(f"The reach kernel has no launch configuration for {q.device}.")
    blocks = launch.for_keys(grid.tile_tokens)
    k = k if k.stride(2) == 1 else k.contiguous()
    out = torch.empty(heads, grid.tile_count, rows, device=q.device)
    programs = (-(-rows // blocks.block_m) * grid.tile_count, heads)
    with torch.cuda.device_of(q):
        kernel: Any = tile_lse_kernel[programs]
        kernel(
            q.contiguous(),
            k,
            None if bias is None else (bias / scale).contiguous(),
            out,
            *k.stride()[:2],
            rows,
            *grid.shape,
            *grid.tiles[1:],
            scale * _LOG2_E,
            TILE_T=grid.tile[0],
            TILE_H=grid.tile[1],
            TILE_W=grid.tile[2],
            DIM=dim,
            BLOCK_M=blocks.block_m,
            BLOCK_N=blocks.block_n,
            BIASED=bias is not None,
            num_warps=blocks.warps,
            num_stages=blocks.stages,
        )
    return out.transpose(1, 2)
