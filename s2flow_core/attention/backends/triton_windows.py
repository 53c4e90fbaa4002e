"""Windowed attention in one Triton launch over all heads; for NVIDIA GPUs from Ampere on and AMD's MI300."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from ...kernels.architecture import architecture_of
from ...kernels.launch_table import Launch, window_launch
from ...kernels.window_kernel import GUARD_BITS, window_attention_programs
from ...windows.extents import computed_pairs, seen_pairs
from ...windows.grid import TokenGrid, Triple
from ..call import AttentionCall, attend_text
from ..extra_keys import ExtraKeys, extra_keys, video_bias
from .triton_tile_means import kernel_tile_means

_LOG2_E = math.log2(math.e)
"""The kernel's softmax is in powers of two."""

_SMALLEST_BLOCK = 16
"""Rows that a tensor core multiplies at once, at least."""

_MOST_TILES = 511
"""Per axis: what the nine bits of a packed place can number, less the one that means 'no tile'."""


@dataclass(frozen=True)
class Int8Keys:
    """The video's keys in eight bits, as `int8_keys_kernel` makes them.

    k: (B, ranks, slots, dim) int8 in tile order, padded, less the means (B, heads, dim) float32. scales: (B,
    ranks, blocks of keys) float32, what one step stands for.
    """

    k: Tensor
    scales: Tensor
    means: Tensor


@dataclass(frozen=True)
class WindowLaunch:
    """What one launch computes: attention of the video's queries under the windows of some heads.

    q, k, v, out: (B, heads, grid.tokens, dim) in raster order, any strides but adjacent channels. windows:
    (ranks, 4) int32, head and extent; other heads stay as they are. video_bias: (B, grid.tokens) float32
    added to the logits, or None. extra: keys that all queries see. int8_keys: the video's in eight bits,
    instead of k.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    out: Tensor
    grid: TokenGrid
    windows: Tensor
    video_bias: Tensor | None
    extra: ExtraKeys
    scale: float
    int8_keys: Int8Keys | None = None


def refuses(call: AttentionCall) -> str | None:
    """Why the kernel cannot compute this call, as a sentence; None if it can."""
    architecture, tile = architecture_of(call.q.device), call.grid.tile_tokens
    if window_launch(architecture, call.q.shape[3]) is None:
        return f"it knows NVIDIA GPUs from Ampere on and AMD's MI300, and this is {architecture}."
    if tile < _SMALLEST_BLOCK or any(side & (side - 1) for side in call.grid.tile):
        sides = "x".join(map(str, call.grid.tile))
        return f"it needs tiles of at least 16 tokens and of sides 1, 2, 4, 8 ..., and these are {sides}."
    if max(call.grid.tiles) > _MOST_TILES:
        return f"it can number {_MOST_TILES} tiles along an axis, and this video has {max(call.grid.tiles)}."
    if _span(call.grid) * max(call.k.stride(2), call.v.stride(2)) >= 2**31:
        return "the rows of keys within a tile lie too far apart."
    if not 0 < call.scale < math.inf:
        return f"it needs a positive and finite softmax scale, and this model uses {call.scale}."
    return None


def run(call: AttentionCall, launch: Launch | None = None) -> Tensor:
    """(B, heads, tokens, dim) of windowed attention in q's dtype, for a call that `refuses` lets pass.

    launch: replaces the shipped configuration. Raises ValueError if there is none for q's device and head
    size.
    """
    out = call.output()
    partial = video_bias(call) is not None or not call.grid.divides
    launch = launch or window_launch(architecture_of(call.q.device), call.q.shape[3], partial)
    if launch is None:
        raise ValueError(f"The attention kernel has no launch configuration for {call.q.device}.")
    start(asked_of(call, out, launch), launch)
    attend_text(call, out)
    count_visited(call)
    return out


def asked_of(call: AttentionCall, out: Tensor, launch: Launch) -> WindowLaunch:
    """The video's part of a call, which writes to `out` (B, heads, tokens, dim)."""
    q, k, v = (x if x.stride(3) == 1 else x.contiguous() for x in (call.q, call.k, call.v))
    call = replace(call, q=q, k=k, v=v)
    extra = extra_keys(call, launch.for_tile(call.grid.tile_tokens).block_n, kernel_tile_means)
    return WindowLaunch(
        q=q[:, :, call.video],
        k=k[:, :, call.video],
        v=v[:, :, call.video],
        out=out[:, :, call.video],
        grid=call.grid,
        windows=longest_first(call.extents, tuple(call.heads), call.q.device),
        video_bias=None if extra.video_bias is None else extra.video_bias[:, call.video],
        extra=extra,
        scale=call.scale,
    )


def count_visited(call: AttentionCall) -> None:
    """Adds what the windows of a call visit to its counter, if it has one."""
    if call.stats is None:
        return
    batch, extents = call.q.shape[0], [call.extents[head] for head in call.heads]
    call.stats.seen += batch * sum(seen_pairs(call.grid, extent) for extent in extents)
    call.stats.computed += batch * sum(computed_pairs(call.grid, extent) for extent in extents)
    call.stats.possible += batch * len(extents) * call.grid.tokens**2


def start(work: WindowLaunch, launch: Launch) -> None:
    """Launch the kernel; it writes the rows of `work.out`."""
    grid = work.grid
    batch, heads, _, dim = work.k.shape
    blocks = launch.for_tile(grid.tile_tokens)
    extra, extra_bias, places = work.extra, None, None
    if extra.k is not None:
        shown = torch.zeros(batch, extra.k.shape[2], device=extra.k.device)
        extra_bias = shown if extra.bias is None else extra.bias / work.scale
        padding = extra.k.shape[2] - extra.text - extra.tail_tiles
        places = extra_places(grid, (extra.text, extra.tail_tiles, padding), extra.k.device)
    keys8 = work.int8_keys
    # In eight bits logits are added up after scaling, else before.
    bias = slot_bias(grid, work.video_bias, _LOG2_E if keys8 else 1.0 / work.scale, work.q.device)
    # Where the video has a bias, every tile is read with it.
    sides = zip(grid.shape, grid.tile, strict=True)
    whole = (0, 0, 0) if work.video_bias is not None else tuple(length // side for length, side in sides)
    k, means, scales = (keys8.k, keys8.means, keys8.scales) if keys8 else (work.k, None, None)
    programs = (grid.tile_count * grid.tile_tokens // blocks.block_m, batch, len(work.windows))
    extras = (extra.k, extra.v, extra_bias, places)
    with torch.cuda.device_of(work.q):
        window_attention_programs(programs)(
            *(work.q, k, work.v, work.out, means, scales, bias, *extras, work.windows),
            *(stride for x in (work.q, k, work.v, work.out) for stride in x.stride()[:3]),
            bias.stride(0) if bias is not None and len(bias) > 1 else 0,
            heads,
            *grid.shape,
            *grid.tiles,
            *whole,
            0 if places is None else len(places),
            work.scale * _LOG2_E,
            TILE_T=grid.tile[0],
            TILE_H=grid.tile[1],
            TILE_W=grid.tile[2],
            DIM=dim,
            BLOCK_M=blocks.block_m,
            BLOCK_N=blocks.block_n,
            PARTIAL=bias is not None,
            EXTRA=places is not None,
            INT8=keys8 is not None,
            HALF_SUMS=blocks.half_sums and work.v.dtype == torch.float16,
            num_warps=blocks.warps,
            num_stages=blocks.stages,
        )


def slot_bias(grid: TokenGrid, bias: Tensor | None, unit: float, device: torch.device) -> Tensor | None:
    """(B or 1, slots) float32 added to the logits of every slot of the tiles, in tile order: bias (B, tokens)
    times unit, -inf where a tile reaches over the video's end; None where there is nothing to add."""
    if bias is None:
        return None if grid.divides else _beyond(grid, device)
    slots = grid.to_tiles(bias.float()[:, None, :, None] * unit)[:, 0, :, 0]  # (B, slots)
    return slots if grid.divides else slots + _beyond(grid, device)


@lru_cache(maxsize=8)
def _beyond(grid: TokenGrid, device: torch.device) -> Tensor:
    """(1, slots): 0 for tokens, -inf for padding."""
    valid = grid.slot_valid(device).flatten()
    return torch.zeros(1, len(valid), device=device).masked_fill(~valid, float("-inf"))


@lru_cache(maxsize=4096)
def longest_first(extents: tuple[Triple, ...], heads: tuple[int, ...], device: torch.device) -> Tensor:
    """(some heads, 4) int32: head and extent; those with most work start first, so that none is left alone
    at the end. extents: of all heads; heads: to compute.
    """
    order = sorted(heads, key=lambda head: -math.prod(extents[head]))
    return torch.tensor([(head, *extents[head]) for head in order], dtype=torch.int32, device=device)


def packed_places(grid: TokenGrid, device: torch.device) -> Tensor:
    """(tile_count,) int32: T, H and W of every tile in nine bits each, under a guard bit that is set."""
    t, h, w = (torch.arange(count, dtype=torch.int32, device=device) for count in grid.tiles)
    places = (t << 20)[:, None, None] + (h << 10)[None, :, None] + w[None, None, :]
    return places.flatten() + GUARD_BITS


def _span(grid: TokenGrid) -> int:
    """Tokens of the raster from the first to the last of one tile."""
    (t, h, w), (_, height, width) = grid.tile, grid.shape
    return ((t - 1) * height + h - 1) * width + w


@lru_cache(maxsize=256)
def extra_places(grid: TokenGrid, extra: tuple[int, int, int], device: torch.device) -> Tensor:
    """(slots,) int32: the packed places of the extra keys. extra: text, which is nowhere; tiles; padding."""
    text, tiles, padding = extra
    places = torch.full((text + tiles + padding,), (_MOST_TILES << 20) + GUARD_BITS, dtype=torch.int32)
    if tiles:
        places[text : text + tiles] = packed_places(grid, torch.device("cpu"))
    return places.to(device)
