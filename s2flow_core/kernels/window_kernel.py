"""Windowed attention in one launch over all batches and heads; windows are three integers per head.

One program answers BLOCK_M queries of one tile. Keys and values are read where the model has put them, in
raster order: within every whole tile they lie at the same distances, so one flat loop over blocks of BLOCK_N
rows visits the box that these queries see, without copy, index table or mask. A video that does not fill its
last tiles gets a second loop over those partial tiles. Text and, with a tail, the means of all tiles follow
as extra keys.

The softmax is the online one of FlashAttention (Dao, 2022), in powers of two with log2(e) folded into the
scale. Offsets of heads and rows are 64-bit, because two videos of 460,800 tokens hold more than 2^31 numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import triton
import triton.language as tl

from .box_keys import absorb, absorb_box
from .int8_kernel import to_int8, unit_of

GUARD_BITS = (1 << 9) | (1 << 19) | (1 << 29)
"""The bit above each of the three numbers of a packed place; it is set. Subtracting clears it where the
number is too small, so two subtractions tell whether a tile lies in a box. It must not cost more: on
Blackwell every thread looks at all keys of a block.
"""

GUARDS = tl.constexpr(GUARD_BITS)


# Compiled once for all videos: what changes with their size is no constant of the code.
@triton.jit(
    do_not_specialize=[
        "bias_batch_stride",
        "heads",
        "shape_t",
        "shape_h",
        "shape_w",
        "tiles_t",
        "tiles_h",
        "tiles_w",
        "whole_t",
        "whole_h",
        "whole_w",
        "extra_slots",
    ]
)
def window_attention_kernel(
    q,
    k,
    v,
    out,
    k_means,
    k_scales,
    slot_bias,
    extra_k,
    extra_v,
    extra_bias,
    extra_places,
    windows,
    q_batch_stride,
    q_head_stride,
    q_token_stride,
    k_batch_stride,
    k_head_stride,
    k_token_stride,
    v_batch_stride,
    v_head_stride,
    v_token_stride,
    out_batch_stride,
    out_head_stride,
    out_token_stride,
    bias_batch_stride,
    heads,
    shape_t,
    shape_h,
    shape_w,
    tiles_t,
    tiles_h,
    tiles_w,
    whole_t,
    whole_h,
    whole_w,
    extra_slots,
    scale,
    TILE_T: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    PARTIAL: tl.constexpr,
    EXTRA: tl.constexpr,
    INT8: tl.constexpr,
    HALF_SUMS: tl.constexpr,
):
    """Grid: (query blocks, batch, ranks); rank r answers head windows[r, 0] with the extent windows[r, 1:].

    q, k, v, out: the video's rows in raster order, strided, channels adjacent. shape, tiles: the video in
    tokens and in tiles, whose sides are powers of two. scale: softmax scale times log2(e).

    PARTIAL: tiles beyond the first whole_t x whole_h x whole_w are read token by token, and slot_bias (B or
    1, slots in tile order), divided by the softmax scale, is added to their logits; -inf beyond the video.
    EXTRA: every query also sees extra_k and extra_v (B, heads, extra_slots, DIM), in whole blocks, with
    extra_bias (B, extra_slots), divided likewise; and a key whose packed place (extra_slots,) lies in the box
    is hidden. A place is a tile's T, H and W in nine bits each, and GUARDS.
    INT8: k (B, ranks, slots, DIM) holds the video's keys of these heads in tile order and in eight bits, less
    k_means (B, heads, DIM); k_scales (B, ranks, blocks of keys) belong to it; slot_bias is times log2(e).
    """
    TILE_TOKENS: tl.constexpr = TILE_T * TILE_H * TILE_W
    BLOCKS_PER_TILE: tl.constexpr = TILE_TOKENS // BLOCK_M
    block = tl.program_id(0)
    item = tl.program_id(1).to(tl.int64)
    window = windows + tl.program_id(2) * 4
    head = tl.load(window).to(tl.int64)
    extent_t = tl.load(window + 1)
    extent_h = tl.load(window + 2)
    extent_w = tl.load(window + 3)

    # The box of this query tile: centred on it, pushed inward at the borders.
    tile = block // BLOCKS_PER_TILE
    tile_t = tile // (tiles_h * tiles_w)
    tile_h = tile // tiles_w % tiles_h
    tile_w = tile % tiles_w
    box_t = tl.minimum(tl.maximum(tile_t - extent_t // 2, 0), tiles_t - extent_t)
    box_h = tl.minimum(tl.maximum(tile_h - extent_h // 2, 0), tiles_h - extent_h)
    box_w = tl.minimum(tl.maximum(tile_w - extent_w // 2, 0), tiles_w - extent_w)

    # Where this block's queries lie in the raster.
    place = block % BLOCKS_PER_TILE * BLOCK_M + tl.arange(0, BLOCK_M)
    t = tile_t * TILE_T + place // (TILE_H * TILE_W)
    h = tile_h * TILE_H + place // TILE_W % TILE_H
    w = tile_w * TILE_W + place % TILE_W
    exists = (t < shape_t) & (h < shape_h) & (w < shape_w)
    token = tl.where(exists, (t * shape_h + h) * shape_w + w, -1)
    channel = tl.arange(0, DIM)[None, :]
    q += item * q_batch_stride + head * q_head_stride
    # A place beyond the video's end asks as its first token does, and the answer is not stored.
    q_row = tl.maximum(token, 0).to(tl.int64)[:, None] * q_token_stride
    queries = tl.load(q + q_row + channel)
    video_queries, query_scale, k_head = queries, scale, head
    if INT8:
        asked = queries.to(tl.float32)
        k_head = tl.program_id(2).to(tl.int64)
        blocks = tiles_t * tiles_h * tiles_w * (TILE_TOKENS // BLOCK_N)
        k_scales += (item * tl.num_programs(2) + k_head) * blocks
        largest = tl.max(tl.abs(asked), 1)
        video_queries = to_int8(asked, largest[:, None])
        query_scale = unit_of(largest, scale, tl.sum(asked * 0.0, 1))

    k += item * k_batch_stride + k_head * k_head_stride
    v += item * v_batch_stride + head * v_head_stride
    state = (
        tl.full([BLOCK_M], float("-inf"), tl.float32),
        tl.zeros([BLOCK_M], tl.float32),
        tl.zeros([BLOCK_M, DIM], tl.float32),
    )
    box, extent = (box_t, box_h, box_w), (extent_t, extent_h, extent_w)
    shape, tiles = (shape_t, shape_h, shape_w), (tiles_t, tiles_h, tiles_w)
    free = extent
    if PARTIAL:
        free = (
            tl.minimum(tl.maximum(whole_t - box_t, 0), extent_t),
            tl.minimum(tl.maximum(whole_h - box_h, 0), extent_h),
            tl.minimum(tl.maximum(whole_w - box_w, 0), extent_w),
        )
    state = absorb_box(
        video_queries, k, v, k_scales, slot_bias, k_token_stride, v_token_stride,
        box, extent, free, shape, tiles, state, query_scale,
        TILE_T, TILE_H, TILE_W, DIM, BLOCK_N, True, INT8, HALF_SUMS,
    )  # fmt: skip
    if PARTIAL:
        slot_bias += item * bias_batch_stride
        state = absorb_box(
            video_queries, k, v, k_scales, slot_bias, k_token_stride, v_token_stride,
            box, extent, free, shape, tiles, state, query_scale,
            TILE_T, TILE_H, TILE_W, DIM, BLOCK_N, False, INT8, HALF_SUMS,
        )  # fmt: skip

    if EXTRA:
        extra_k += (item * heads + head) * extra_slots * DIM
        extra_v += (item * heads + head) * extra_slots * DIM
        extra_bias += item * extra_slots
        if INT8:
            # Read again, because two forms of the queries at once are more than the registers hold.
            queries = tl.load(q + q_row + channel, cache_modifier=".cg")
            mean = tl.load(k_means + (item * heads + head) * DIM + channel)
            moved = tl.sum(queries.to(tl.float32) * mean, 1)  # what the video's logits lack by its mean
        # Means of tiles inside the box are hidden, because the box holds those tiles token by token.
        corner = (box_t << 20) + (box_h << 10) + box_w
        end = corner + ((extent_t - 1) << 20) + ((extent_h - 1) << 10) + extent_w - 1 + 2 * GUARDS
        slot = tl.arange(0, BLOCK_N)
        numbers = slot[:, None] * DIM + channel
        for first in range(0, extra_slots, BLOCK_N):
            keys = tl.load(extra_k + first * DIM + numbers)
            where = tl.load(extra_places + first + slot)
            inside = ((where - corner) & (end - where) & GUARDS) == GUARDS
            bias = tl.where(inside, float("-inf"), tl.load(extra_bias + first + slot))
            logits = tl.dot(queries, tl.trans(keys), input_precision="ieee") + bias[None, :]
            if INT8:
                logits -= moved[:, None]
            values = tl.load(extra_v + first * DIM + numbers)
            state = absorb(logits, values, state, scale, True, HALF_SUMS)

    # A query that sees no key at all gets zeros.
    _, state_sum, acc = state
    acc *= (1.0 / tl.where(state_sum == 0.0, 1.0, state_sum))[:, None]
    out += item * out_batch_stride + head * out_head_stride
    out_row = token.to(tl.int64)[:, None] * out_token_stride
    tl.store(out + out_row + channel, acc.to(out.dtype.element_ty), token[:, None] >= 0)


def window_attention_programs(programs: tuple[int, int, int]) -> Callable[..., None]:
    """`window_attention_kernel`, to be called with its arguments; typed, as Triton's kernels are not.

    programs: how many blocks of queries, videos of the batch, and heads are computed.
    """
    return window_attention_kernel[programs]
