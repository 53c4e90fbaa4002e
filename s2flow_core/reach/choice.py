"""What sampled queries take from every key tile: by torch anywhere, by a kernel on a GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module

import torch
from torch import Tensor

from ..windows.grid import TokenGrid
from .tile_sums import QueryRows, TileSums, torch_tile_sums

log = logging.getLogger(__name__)

SumTiles = Callable[[QueryRows, TokenGrid], TileSums]
"""A way to compute what the rows take from every tile of the grid."""

_fallbacks: set[str] = set()
"""Reasons why the kernel was not taken, each logged once."""


def choose_tile_sums(queries: Tensor, grid: TokenGrid) -> tuple[SumTiles, int]:
    """The fastest way, and how many numbers it holds per row and head. queries: (..., dim)."""
    if queries.device.type != "cuda":
        return torch_tile_sums, grid.tokens
    try:
        kernel = import_module(".triton_tile_sums", __package__)
        reason = kernel.refuses(queries, grid)
    except Exception as error:  # a broken Triton raises anything from ImportError to OSError
        reason = str(error)
    if reason:
        _fall_back(reason)
        return torch_tile_sums, grid.tokens
    return kernel_tile_sums, grid.tile_count


def kernel_tile_sums(rows: QueryRows, grid: TokenGrid) -> TileSums:
    """`TileSums` by the Triton kernel, which never holds more than rows x tiles numbers per channel."""
    try:
        return import_module(".triton_tile_sums", __package__).tile_sums(rows, grid)
    except Exception as error:  # no kernel's failure may end a sampling run
        _fall_back(str(error))
        parts = [torch_tile_sums(rows.head(head), grid) for head in range(len(rows.q))]
        return TileSums(torch.cat([part.lse for part in parts]), torch.cat([part.means for part in parts]))


def _fall_back(reason: str) -> None:
    if reason not in _fallbacks:
        _fallbacks.add(reason)
        log.info("S²Flow measures attention with torch instead of its kernel: %s", reason)
