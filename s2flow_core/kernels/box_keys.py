"""How windowed attention visits its keys: blocks of rows folded into the running softmax of every query.

The softmax is the online one of FlashAttention (Dao, 2022), in powers of two with log2(e) folded into the
scale. Keys and values lie in raster order, as the model has put them. In every whole tile the tokens lie
at the same distances, so no copy, index table or mask is needed there.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def absorb(logits, v, state_max, state_sum, acc, scale):
    """Fold one block of keys into the running softmax of every query row.

    logits: (BLOCK_M, BLOCK_N) q.k, before scaling; v: (BLOCK_N, DIM); scale: with log2(e), positive.
    """
    new_max = tl.maximum(state_max, tl.max(logits, 1) * scale)
    # A row that has only met hidden keys has the maximum -inf, and -inf minus -inf is no number.
    reference = tl.where(new_max == float("-inf"), 0.0, new_max)
    weights = tl.math.exp2(logits * scale - reference[:, None])
    shrink = tl.math.exp2(state_max - reference)
    state_sum = state_sum * shrink + tl.sum(weights, 1)
    acc = tl.dot(weights.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
    return new_max, state_sum, acc


@triton.jit
def absorb_box(
    q,
    k,
    v,
    k_token_stride,
    v_token_stride,
    box_t,
    box_h,
    box_w,
    count_t,
    count_h,
    count_w,
    shape_h,
    shape_w,
    state_max,
    state_sum,
    acc,
    scale,
    TILE_T: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Fold all keys of count_t x count_h x count_w whole tiles, from the tile (box_t, box_h, box_w) on.

    k, v: the first token of this head's video.
    """
    PLANE: tl.constexpr = TILE_H * TILE_W
    PARTS: tl.constexpr = TILE_T * PLANE // BLOCK_N  # blocks of keys that a tile is read in
    place = tl.arange(0, BLOCK_N)
    channel = tl.arange(0, DIM)[None, :]
    # Sides are powers of two, so every part of a tile is laid out like its first.
    local = (place // PLANE * shape_h + place // TILE_W % TILE_H) * shape_w + place % TILE_W
    k_numbers = local[:, None] * k_token_stride + channel
    v_numbers = local[:, None] * v_token_stride + channel
    # Counters instead of divisions: this loop is where the time goes.
    part, t, h, w = 0, box_t, box_h, box_w
    for _ in range(count_t * count_h * count_w * PARTS):
        begin = part * BLOCK_N
        begin_t = t * TILE_T + begin // PLANE
        begin_h = h * TILE_H + begin // TILE_W % TILE_H
        first = ((begin_t * shape_h + begin_h) * shape_w + w * TILE_W + begin % TILE_W).to(tl.int64)
        keys = tl.load(k + first * k_token_stride + k_numbers)
        logits = tl.dot(q, tl.trans(keys), input_precision="ieee")
        values = tl.load(v + first * v_token_stride + v_numbers)
        state_max, state_sum, acc = absorb(logits, values, state_max, state_sum, acc, scale)
        part += 1
        over = part == PARTS
        part = tl.where(over, 0, part)
        w = tl.where(over, w + 1, w)
        over = w == box_w + count_w
        w = tl.where(over, box_w, w)
        h = tl.where(over, h + 1, h)
        over = h == box_h + count_h
        h = tl.where(over, box_h, h)
        t = tl.where(over, t + 1, t)
    return state_max, state_sum, acc


@triton.jit
def absorb_rest(
    q,
    k,
    v,
    bias,
    k_token_stride,
    v_token_stride,
    box_t,
    box_h,
    box_w,
    extent_t,
    extent_h,
    extent_w,
    free_t,
    free_h,
    free_w,
    shape_t,
    shape_h,
    shape_w,
    state_max,
    state_sum,
    acc,
    scale,
    TILE_T: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BIASED: tl.constexpr,
):
    """Fold the keys of the box that lie in none of its first free_t x free_h x free_w tiles.

    Those are up to three slabs, behind the free part along T, H and W; one loop visits them all, because
    loops inside loops make the compiler wait for every product of matrices. Keys beyond the video are hidden.
    """
    PLANE: tl.constexpr = TILE_H * TILE_W
    PARTS: tl.constexpr = TILE_T * PLANE // BLOCK_N
    channel = tl.arange(0, DIM)[None, :]
    behind_t = (extent_t - free_t) * extent_h * extent_w
    behind_h = behind_t + free_t * (extent_h - free_h) * extent_w
    behind_w = behind_h + free_t * free_h * (extent_w - free_w)
    for step in range(behind_w * PARTS):
        index = step // PARTS
        in_w, in_h = index >= behind_h, (index >= behind_t) & (index < behind_h)
        index -= tl.where(in_w, behind_h, tl.where(in_h, behind_t, 0))
        first_t = tl.where(in_w | in_h, 0, free_t)
        first_h = tl.where(in_h, free_h, 0)
        first_w = tl.where(in_w, free_w, 0)
        count_h = tl.where(in_w, free_h, extent_h - first_h)
        count_w = extent_w - first_w
        t = box_t + first_t + index // (count_h * count_w)
        h = box_h + first_h + index // count_w % count_h
        w = box_w + first_w + index % count_w
        place = step % PARTS * BLOCK_N + tl.arange(0, BLOCK_N)
        key_t = t * TILE_T + place // PLANE
        key_h = h * TILE_H + place // TILE_W % TILE_H
        key_w = w * TILE_W + place % TILE_W
        exists = (key_t < shape_t) & (key_h < shape_h) & (key_w < shape_w)
        token = tl.where(exists, (key_t * shape_h + key_h) * shape_w + key_w, 0)
        row = token.to(tl.int64)[:, None]
        keys = tl.load(k + row * k_token_stride + channel)
        logits = tl.dot(q, tl.trans(keys), input_precision="ieee")
        if BIASED:
            logits += tl.load(bias + token)[None, :]
        logits = tl.where(exists[None, :], logits, float("-inf"))
        values = tl.load(v + row * v_token_stride + channel)
        state_max, state_sum, acc = absorb(logits, values, state_max, state_sum, acc, scale)
    return state_max, state_sum, acc
