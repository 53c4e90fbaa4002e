"""Every tile of the video as one key: the mean of its keys and values, and the weight of its tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product

import torch
from torch import Tensor

from ..windows.grid import TokenGrid
from .boxes import Runs, strided
from .call import AttentionCall

WriteMeans = Callable[[AttentionCall, Tensor, Tensor], Tensor]
"""A way to write every tile's mean key and mean value into (B, heads, tiles, dim) each; returns the log of
the tiles' weights, (B or 1, tiles) float32."""

_MOST_NUMBERS = {"cpu": 2**18}
"""Numbers summed at once, by device type: 1 MiB of float32 stays in a CPU's cache."""

_MOST_NUMBERS_ELSEWHERE = 2**24

_Region = tuple[Runs, Runs, Runs]
"""Equal tiles: runs of tokens along T, H and W, each of them one tile's side."""


def torch_tile_means(call: AttentionCall, keys: Tensor, values: Tensor) -> Tensor:
    """`WriteMeans` on every device, for all heads at once, a few tiles after the others.

    The weight of a tile is its number of tokens; with a key bias, tokens count by exp(bias), so hidden ones
    do not.
    """
    grid = call.grid
    weight, highest = _token_weights(call)
    total = _number_of_tokens(grid, call.q.device)  # (1, nT, nH, nW)
    if weight is not None:
        total = weight.new_empty(len(weight), *grid.tiles)
        for region in _regions(grid):
            part = strided(weight, grid, 0, region)  # (B, 1, gT, gH, gW, t, h, w, 1)
            total[_places(grid, region)] = part.sum(dim=(5, 6, 7))[:, 0, ..., 0]
    share = total.clamp_min(torch.finfo(torch.float32).tiny)
    for x, means in ((call.k, keys), (call.v, values)):
        out = torch.unflatten(means, 2, grid.tiles)  # (B, heads, nT, nH, nW, dim)
        for region in _affordable_regions(x, grid):
            some = _places(grid, region)
            sums = _sums(strided(x, grid, call.prefix, region), weight, grid, region)
            out[(slice(None), *some)] = sums / share[some][:, None, ..., None]
    log_weight = total.log().flatten(1)  # (B or 1, tiles)
    return log_weight if highest is None else log_weight + highest


@lru_cache(maxsize=64)
def log_sizes(grid: TokenGrid, device: torch.device) -> Tensor:
    """(1, tiles) float32: log of the number of tokens in each tile."""
    return _number_of_tokens(grid, device).log().flatten(1)


@lru_cache(maxsize=64)
def _number_of_tokens(grid: TokenGrid, device: torch.device) -> Tensor:
    """(1, nT, nH, nW) float32; kept, because it comes from the CPU."""
    return grid.tile_sizes(device)[None].float()


def _token_weights(call: AttentionCall) -> tuple[Tensor | None, Tensor | None]:
    """Weights of the video's tokens (B, 1, tokens, 1) and the log of their unit, both None without a bias."""
    if call.key_bias is None:
        return None, None
    bias = call.key_bias[:, None, call.video, None]
    highest = bias.max().clamp_min(torch.finfo(torch.float32).min)
    return (bias - highest).exp(), highest


def _sums(tokens: Tensor, weight: Tensor | None, grid: TokenGrid, region: _Region) -> Tensor:
    """(B, heads, gT, gH, gW, t, h, w, dim) -> (B, heads, gT, gH, gW, dim) float32, weighed.

    Axis by axis: torch adds neighbouring rows several times as fast as it reduces three axes at once.
    """
    if weight is not None:
        tokens = tokens * strided(weight, grid, 0, region)  # in the weight's float32
    return tokens.sum(dim=7, dtype=torch.float32).sum(dim=6).sum(dim=5)


def _regions(grid: TokenGrid) -> Iterator[_Region]:
    """The whole tiles, and the partial ones at the end of each axis by themselves: no padding is made."""
    axes: list[list[Runs]] = []
    for length, side in zip(grid.shape, grid.tile, strict=True):
        whole, rest = divmod(length, side)
        runs = [Runs(whole, 0, side, side), Runs(1, whole * side, 0, rest)]
        axes.append([run for run in runs if run.count and run.length])
    t, h, w = axes
    yield from product(t, h, w)


def _affordable_regions(x: Tensor, grid: TokenGrid) -> Iterator[_Region]:
    """Regions cut until the tokens of one take little memory; a tile is never cut. x: (B, heads, _, dim)."""
    most = _MOST_NUMBERS.get(x.device.type, _MOST_NUMBERS_ELSEWHERE)
    waiting = list(_regions(grid))
    while waiting:
        region = waiting.pop()
        numbers = x.shape[0] * x.shape[1] * x.shape[3] * math.prod(run.count * run.length for run in region)
        axis = next((axis for axis, run in enumerate(region) if run.count > 1), None)
        if numbers <= most or axis is None:
            yield region
            continue
        for half in region[axis].halves():
            t, h, w = (half if i == axis else run for i, run in enumerate(region))
            waiting.append((t, h, w))


def _places(grid: TokenGrid, region: _Region) -> tuple[slice, ...]:
    """Where the region's tiles stand in a tensor (B, nT, nH, nW, ...)."""
    firsts = [run.start // side for run, side in zip(region, grid.tile, strict=True)]
    return slice(None), *(slice(first, first + run.count) for first, run in zip(firsts, region, strict=True))
