"""Queries and keys in eight bits: one scale for every query, one for every block of keys.

As in SageAttention (Zhang et al., 2024), the mean of a head's keys is taken off first. It moves all logits of
a query alike, which the softmax does not see, and what is left is small enough for eight bits.
"""

from __future__ import annotations

from collections.abc import Callable

import triton
import triton.language as tl

from .tile_tokens import tokens_of

_MOST = tl.constexpr(127.0)
_LARGEST_UNIT = tl.constexpr(1e15)
"""The product of two units and of any sum of products still is a number."""


@triton.jit
def to_int8(x, largest):
    """Numbers in steps of largest/127; largest: no less than any magnitude in x, and one that broadcasts."""
    share = x / tl.where(largest > 0.0, largest, 1.0)
    return tl.floor(share * _MOST + 0.5).to(tl.int8)


@triton.jit
def unit_of(largest, factor, zeros):
    """What one step stands for, times a factor. zeros: the sum of all numbers times 0, which is no number if
    one of them is none: eight bits cannot hold that, and it must not be hidden."""
    unit = largest / _MOST * factor
    return tl.where(unit > _LARGEST_UNIT, _LARGEST_UNIT, unit) + zeros


@triton.jit(
    do_not_specialize=["heads", "shape_t", "shape_h", "shape_w", "tiles_h", "tiles_w"],
)
def int8_keys_kernel(
    k,
    means,
    windows,
    keys_out,
    scales_out,
    k_batch_stride,
    k_head_stride,
    k_token_stride,
    heads,
    shape_t,
    shape_h,
    shape_w,
    tiles_h,
    tiles_w,
    TILE_T: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Grid: (blocks of keys in tile order, batch, ranks); rank r writes the keys of head windows[r, 0].

    k: (B, heads, tokens, DIM) in raster order, strided, channels adjacent. means: (B, heads, DIM) float32,
    taken off. keys_out: (B, ranks, slots, DIM) int8 in tile order, 0 beyond the video's end. scales_out: (B,
    ranks, blocks) float32.
    """
    PARTS: tl.constexpr = TILE_T * TILE_H * TILE_W // BLOCK_N
    block = tl.program_id(0)
    item, rank = tl.program_id(1).to(tl.int64), tl.program_id(2)
    slot = item * tl.num_programs(2) + rank
    head = tl.load(windows + rank * 4).to(tl.int64)
    tile = block // PARTS
    place = block % PARTS * BLOCK_N + tl.arange(0, BLOCK_N)
    token, exists = tokens_of(
        tile, place, shape_t, shape_h, shape_w, tiles_h, tiles_w, TILE_T, TILE_H, TILE_W
    )
    token, exists = token.to(tl.int64)[:, None], exists[:, None]
    slots = tl.num_programs(0).to(tl.int64) * BLOCK_N
    channel = tl.arange(0, DIM)[None, :]
    k += item * k_batch_stride + head * k_head_stride
    keys = tl.load(k + token * k_token_stride + channel, mask=exists, other=0.0).to(tl.float32)
    keys -= tl.load(means + (item * heads + head) * DIM + channel)
    keys = tl.where(exists, keys, 0.0)
    largest = tl.max(tl.abs(keys))
    row = slot * slots + block * BLOCK_N + tl.arange(0, BLOCK_N)
    tl.store(keys_out + row[:, None] * DIM + channel, to_int8(keys, largest))
    tl.store(scales_out + slot * tl.num_programs(0) + block, unit_of(largest, 1.0, tl.sum(keys * 0.0)))


def int8_keys_programs(programs: tuple[int, int, int]) -> Callable[..., None]:
    """`int8_keys_kernel`, to be called with its arguments; programs: blocks of keys, batch, ranks."""
    return int8_keys_kernel[programs]
