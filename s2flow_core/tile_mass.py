"""How much attention every key tile gets from sampled queries: by torch anywhere, by a kernel on a GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module

import torch
from torch import Tensor

from .grid import TokenGrid

log = logging.getLogger(__name__)

TileMass = Callable[[Tensor, Tensor, Tensor | None, TokenGrid, float], Tensor]
"""(queries (heads, rows, dim), keys (heads, tokens, dim), key bias (tokens,) or None, grid, softmax scale) ->
(heads, rows, tiles) float32, the softmax of each row over the video's tokens, summed within tiles."""

_fallbacks: set[str] = set()
"""Reasons why the kernel was not taken, each logged once."""


def choose_tile_mass(queries: Tensor, grid: TokenGrid) -> tuple[TileMass, int]:
    """The fastest way to compute tile masses, and how many numbers it holds per row and head."""
    if queries.device.type != "cuda":
        return torch_tile_mass, grid.tokens
    try:
        kernel = import_module(".backends.triton_reach", __package__)
        reason = kernel.refuses(queries, grid)
    except Exception as error:  # a broken Triton raises anything from ImportError to OSError
        reason = str(error)
    if reason:
        _fall_back(reason)
        return torch_tile_mass, grid.tokens
    return kernel_tile_mass, grid.tile_count


def torch_tile_mass(q: Tensor, k: Tensor, bias: Tensor | None, grid: TokenGrid, scale: float) -> Tensor:
    """`TileMass` by its definition; holds heads x rows x tokens logits."""
    logits = (q.float() * scale) @ k.float().transpose(1, 2)  # (heads, rows, tokens)
    if bias is not None:
        logits += bias
    return grid.sum_tiles(logits.softmax(dim=-1)[..., None])[..., 0]


def kernel_tile_mass(q: Tensor, k: Tensor, bias: Tensor | None, grid: TokenGrid, scale: float) -> Tensor:
    """`TileMass` by the Triton kernel, which never holds more than rows x tiles numbers."""
    try:
        return import_module(".backends.triton_reach", __package__).tile_mass(q, k, bias, grid, scale)
    except Exception as error:  # no kernel's failure may end a sampling run
        _fall_back(str(error))
        heads = range(len(q))
        return torch.cat([torch_tile_mass(q[h : h + 1], k[h : h + 1], bias, grid, scale) for h in heads])


def _fall_back(reason: str) -> None:
    if reason not in _fallbacks:
        _fallbacks.add(reason)
        log.info("S²Flow measures attention with torch instead of its kernel: %s", reason)
