"""What sampled queries take from every key tile, in one Triton launch over all heads."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..kernels.architecture import architecture_of
from ..kernels.launch_table import Launch, reach_launch
from ..kernels.tile_sums_kernel import tile_sums_programs
from ..windows.grid import TokenGrid
from .tile_sums import QueryRows, TileSums

_LOG2_E = math.log2(math.e)
"""The kernel's sums are of powers of two."""

_SMALLEST_BLOCK = 16
"""Rows or columns that a tensor core multiplies at once, at least."""

_DIMS = (64, 128)
"""The head sizes of `REACH_LAUNCHES`."""

_DTYPES = (torch.float16, torch.bfloat16)


def refuses(queries: Tensor, grid: TokenGrid) -> str | None:
    """Why the kernel cannot measure these queries, as a sentence; None if it can.

    queries: (..., dim); only device, dtype and dim matter. grid: the tokens and tiles of the video.
    """
    architecture, dim, tile = architecture_of(queries.device), queries.shape[-1], grid.tile_tokens
    if reach_launch(architecture, dim) is None:
        return f"it is built for heads of {_DIMS} channels on known GPUs, not for {dim} on {architecture}."
    if queries.dtype not in _DTYPES:
        return f"it computes in half precision, and this model uses {queries.dtype}."
    if tile % _SMALLEST_BLOCK:
        return f"it needs tiles of 16, 32, 48 ... tokens, and this video is cut into tiles of {tile}."
    return None


def tile_sums(rows: QueryRows, grid: TokenGrid, launch: Launch | None = None) -> TileSums:
    """`TileSums` of heads x rows x tiles, without the rows' logits in memory.

    rows: q (heads, rows, dim) and k (heads, tokens, dim) in half precision, values (heads, tokens, channels),
    whose keys are the tokens of `grid`. launch: replaces the shipped configuration. Raises ValueError if
    there is none for q's device and head size.
    """
    heads, asked, dim = rows.q.shape
    blocks = (launch or _shipped_launch(rows.q.device, dim)).for_keys(grid.tile_tokens)
    k = rows.k if rows.k.stride(2) == 1 else rows.k.contiguous()
    channels = rows.values.shape[-1]
    # A tensor core multiplies by 16 columns at least; those beyond the values' channels hold zeros.
    columns = channels + -channels % _SMALLEST_BLOCK
    values = rows.values.to(k.dtype)
    if values.stride() != (values.shape[1] * columns, columns, 1):
        values = pad(values, (0, columns - channels)).contiguous()
    lse = torch.empty(heads, grid.tile_count, asked, device=k.device)
    means = torch.empty(heads, grid.tile_count, asked, channels, device=k.device)
    programs = (-(-asked // blocks.block_m) * grid.tile_count, heads)
    bias = None if rows.bias is None else (rows.bias / rows.scale).contiguous()
    with torch.cuda.device_of(k):
        tile_sums_programs(programs)(
            *(rows.q.contiguous(), k, values, bias, lse, means),
            *k.stride()[:2],
            grid.tokens,
            asked,
            *grid.shape,
            *grid.tiles[1:],
            rows.scale * _LOG2_E,
            TILE_T=grid.tile[0],
            TILE_H=grid.tile[1],
            TILE_W=grid.tile[2],
            DIM=dim,
            CHANNELS=channels,
            COLUMNS=columns,
            BLOCK_M=blocks.block_m,
            BLOCK_N=blocks.block_n,
            BIASED=rows.bias is not None,
            num_warps=blocks.warps,
            num_stages=blocks.stages,
        )
    return TileSums(lse.transpose(1, 2), means.transpose(1, 2))


def _shipped_launch(device: torch.device, dim: int) -> Launch:
    launch = reach_launch(architecture_of(device), dim)
    if launch is None:
        raise ValueError(f"The reach kernel has no launch configuration for {device}.")
    return launch
