"""What sampled queries take from every key tile: by torch anywhere, by a kernel on a GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from importlib import import_module

import torch
from torch import Tensor

from ..attention.measured_rates import device_name
from ..attention.trust import MOST_DEVIATION, REPORT_AT
from ..windows.grid import TokenGrid
from .tile_sums import QueryRows, TileSums, torch_tile_sums

log = logging.getLogger(__name__)

SumTiles = Callable[[QueryRows, TokenGrid], TileSums]
"""A way to compute what the rows take from every tile of the grid."""


@dataclass(frozen=True)
class Held:
    """What a way holds at once. numbers: for each row of a head. by_kernel: and no copies of keys."""

    numbers: int
    by_kernel: bool

    def at_least(self, numbers: int) -> Held:
        """The same, where the caller holds so many itself."""
        return replace(self, numbers=max(self.numbers, numbers))


_CHECKED_TILES = (2, 2, 3)
_CHECKED_HEADS, _CHECKED_ROWS = 2, 20
_SEED = 0

_fallbacks: set[str] = set()
"""Reasons why the kernel was not taken, each logged once."""

_trusted: dict[Hashable, bool] = {}
"""Kinds of call that the kernel was checked on, and whether its numbers were right."""


def choose_tile_sums(queries: Tensor, grid: TokenGrid) -> tuple[SumTiles, Held]:
    """The fastest way, and what it holds. queries: (..., dim)."""
    by_torch = torch_tile_sums, Held(grid.tokens, by_kernel=False)
    if queries.device.type != "cuda":
        return by_torch
    try:
        kernel = import_module(".triton_tile_sums", __package__)
        reason = kernel.refuses(queries, grid)
    except Exception as error:  # a broken Triton raises anything from ImportError to OSError
        reason = str(error)
    if reason:
        _fall_back(reason)
        return by_torch
    return kernel_tile_sums, Held(grid.tile_count, by_kernel=True)


def kernel_tile_sums(rows: QueryRows, grid: TokenGrid) -> TileSums:
    """`TileSums` by the Triton kernel, which never holds more than rows x tiles numbers per channel.

    Where the kernel fails, or gave wrong numbers in a small call of this kind, torch computes head by head.
    """
    try:
        kernel: SumTiles = import_module(".triton_tile_sums", __package__).tile_sums
        if _is_right(kernel, rows, grid):
            return kernel(rows, grid)
    except Exception as error:  # no kernel's failure may end a sampling run
        _fall_back(str(error))
    parts = [torch_tile_sums(rows.head(head), grid) for head in range(len(rows.q))]
    return TileSums(torch.cat([part.lse for part in parts]), torch.cat([part.means for part in parts]))


def _is_right(kernel: SumTiles, like: QueryRows, grid: TokenGrid) -> bool:
    """Whether the kernel agrees with torch on calls of this kind; compared once, before it is believed."""
    rest = tuple(grid.tile_lengths(axis)[-1] for axis in range(3))
    q, channels = like.q, like.values.shape[-1]
    kind = (str(q.device), q.dtype, q.shape[-1], channels, grid.tile, rest, like.bias is None)
    if kind not in _trusted:
        error = _deviation(kernel, like, grid)
        _trusted[kind] = error <= MOST_DEVIATION.get(q.dtype, MOST_DEVIATION[torch.bfloat16])
        if not _trusted[kind]:
            _say_wrong(error, q)
    return _trusted[kind]


def _deviation(kernel: SumTiles, like: QueryRows, grid: TokenGrid) -> float:
    """Largest relative L2 error of what a small call gives, NaN if it gives any; the reference is torch's."""
    sides = zip(_CHECKED_TILES, grid.tile, range(3), strict=True)
    t, h, w = ((count - 1) * side + grid.tile_lengths(axis)[-1] for count, side, axis in sides)
    small, generator = TokenGrid((t, h, w), grid.tile), torch.Generator().manual_seed(_SEED)

    def random(like: Tensor, *shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(like)

    q = random(like.q, _CHECKED_HEADS, _CHECKED_ROWS, like.q.shape[-1])
    k = random(like.k, _CHECKED_HEADS, small.tokens, like.q.shape[-1])
    values = random(like.values, _CHECKED_HEADS, small.tokens, like.values.shape[-1])
    bias = None if like.bias is None else random(like.bias, small.tokens)
    rows = QueryRows(q, k, values, bias, like.q.shape[-1] ** -0.5)
    found, expected = kernel(rows, small), torch_tile_sums(rows, small)
    pairs = ((found.lse.exp(), expected.lse.exp()), (found.means, expected.means))
    errors = [((a - b).square().sum() / b.square().sum()).sqrt() for a, b in pairs if b.numel()]
    return torch.stack(errors).max().item()


def _say_wrong(error: float, queries: Tensor) -> None:
    log.warning(
        "S²Flow: the kernel that measures attention gives wrong numbers (relative error %.2g in a test call) "
        "on %s for %s, %d; torch measures instead. Please report this line at %s",
        error,
        device_name(queries.device),
        queries.dtype,
        queries.shape[-1],
        REPORT_AT,
    )


def _fall_back(reason: str) -> None:
    if reason not in _fallbacks:
        _fallbacks.add(reason)
        log.info("S²Flow measures attention with torch instead of its kernel: %s", reason)
