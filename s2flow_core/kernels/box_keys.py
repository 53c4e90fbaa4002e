"""How windowed attention visits its keys: blocks of rows folded into the running softmax of every query.

The softmax is the online one of FlashAttention (Dao, 2022), in powers of two with log2(e) folded into the
scale. Keys and values lie in raster order, as the model has put them. In every whole tile the tokens lie
at the same distances, so no copy, index table or mask is needed there.

`state` is what a query has met so far: its largest logit, the sum of its weights (BLOCK_M,), and the sum of
the values that they weigh (BLOCK_M, DIM). With HALF_SUMS a block's values are summed in half precision, which
doubles the rate of gaming GPUs.
"""

from __future__ import annotations

import triton
import triton.language as tl

_EXPONENT = tl.constexpr(0x7F800000)
_EXACT = tl.constexpr((127 + 23) << 23)
"""The bits of 2^23, the exponent of a float32 from which on it has no fraction."""

_ONE = tl.constexpr(127 << 23)


@triton.jit
def calming(largest):
    """A power of two that brings a logit below 2^24: 1 where it lies there already.

    The compiler makes one rounding of `logit * scale - largest`, while `largest` is a product that was
    rounded by itself. So the largest logit's own weight is 2 to the power of half a unit in the last place:
    nothing below 2^24, any number or none at 2^32. Logits that large differ by their rounding alone where
    this lets two of them share the weight.
    """
    exponent = tl.maximum(largest.to(tl.int32, bitcast=True) & _EXPONENT, _EXACT)
    return (-(exponent - _EXACT) + _ONE).to(tl.float32, bitcast=True)


@triton.jit
def absorb(logits, v, state, scale, HIDES: tl.constexpr, HALF_SUMS: tl.constexpr):
    """Fold one block of keys into the running softmax of every query row.

    logits: (BLOCK_M, BLOCK_N) q.k, before scaling; v: (BLOCK_N, DIM); scale: with log2(e), not negative,
    one number, or one for every row (BLOCK_M,). HIDES: some logits are -inf.
    """
    state_max, state_sum, acc = state
    new_max = tl.maximum(state_max, tl.max(logits, 1) * scale)
    reference = new_max
    if HIDES:
        # A row that has only met hidden keys has the maximum -inf, and -inf minus -inf is no number.
        reference = tl.where(new_max == float("-inf"), 0.0, new_max)
    shrink = tl.math.exp2(state_max - reference)
    calm = calming(reference)
    weights = tl.math.exp2(logits * (scale * calm)[:, None] - (reference * calm)[:, None])
    state_sum = state_sum * shrink + tl.sum(weights, 1)
    if HALF_SUMS:
        KEYS: tl.constexpr = logits.shape[1]
        # A mean of the block's values cannot overflow, as their sum could.
        means = tl.dot(weights.to(v.dtype) * (1.0 / KEYS), v, out_dtype=tl.float16)
        acc = acc * shrink[:, None] + means.to(tl.float32) * KEYS
    else:
        acc = tl.dot(weights.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
    return new_max, state_sum, acc


@triton.jit
def absorb_box(
    q,
    k,
    v,
    k_scales,
    bias,
    k_token_stride,
    v_token_stride,
    box,
    extent,
    free,
    shape,
    tiles,
    state,
    scale,
    TILE_T: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_N: tl.constexpr,
    FREE: tl.constexpr,
    INT8: tl.constexpr,
    HALF_SUMS: tl.constexpr,
):
    """Fold keys of the box of `extent` tiles that begins at the tile `box`; both are (T, H, W).

    FREE: those of its first `free` tiles, which are whole. Otherwise those of its other tiles, token by
    token, with the bias (slots in tile order) of each, which hides what lies beyond the video's end.
    k, v: the first token of this head's video. shape, tiles: the video in tokens and in tiles.
    INT8: q and k hold eight bits, k in tile order, with a scale of every query and of every block of keys,
    k_scales (blocks,). The bias is added after scaling, else before.
    """
    PLANE: tl.constexpr = TILE_H * TILE_W
    PARTS: tl.constexpr = TILE_T * PLANE // BLOCK_N  # blocks of keys that a tile is read in
    place = tl.arange(0, BLOCK_N)
    channel = tl.arange(0, DIM)[None, :]
    k_numbers, v_numbers, slot_numbers = channel, channel, place[:, None] * DIM + channel
    if FREE:
        # Sides are powers of two, so every part of a tile is laid out like its first.
        local = (place // PLANE * shape[1] + place // TILE_W % TILE_H) * shape[2] + place % TILE_W
        k_numbers = local[:, None] * k_token_stride + channel
        v_numbers = local[:, None] * v_token_stride + channel
    count = free[0] * free[1] * free[2]
    if not FREE:
        count = extent[0] * extent[1] * extent[2] - count
    part, t, h, w = 0, box[0], box[1], box[2]
    for step in range(count * PARTS):
        if not FREE:
            part = step % PARTS
            t, h, w = tile_behind(step // PARTS, box, extent, free)
        block = ((t * tiles[1] + h) * tiles[2] + w) * PARTS + part
        begin = part * BLOCK_N
        begin_t = t * TILE_T + begin // PLANE
        begin_h = h * TILE_H + begin // TILE_W % TILE_H
        begin_w = w * TILE_W + begin % TILE_W
        if FREE:
            row = ((begin_t * shape[1] + begin_h) * shape[2] + begin_w).to(tl.int64)
        else:
            key_t, key_h = begin_t + place // PLANE, begin_h + place // TILE_W % TILE_H
            key_w = begin_w + place % TILE_W
            exists = (key_t < shape[0]) & (key_h < shape[1]) & (key_w < shape[2])
            row = tl.where(exists, (key_t * shape[1] + key_h) * shape[2] + key_w, 0).to(tl.int64)[:, None]
        if INT8:
            keys = tl.load(k + block.to(tl.int64) * (BLOCK_N * DIM) + slot_numbers)
        else:
            keys = tl.load(k + row * k_token_stride + k_numbers)
        logits = tl.dot(q, tl.trans(keys), input_precision="ieee")
        block_scale = scale
        if INT8:
            logits = logits.to(tl.float32)
            block_scale = scale * tl.load(k_scales + block)
        if not FREE:
            if INT8:
                logits *= block_scale[:, None]
                block_scale = 1.0
            logits += tl.load(bias + block * BLOCK_N + place)[None, :]
        values = tl.load(v + row * v_token_stride + v_numbers)
        state = absorb(logits, values, state, block_scale, not FREE, HALF_SUMS)
        if FREE:
            # Counters instead of divisions: this loop is where the time goes.
            if PARTS == 1:
                w += 1
            else:
                part += 1
                over = part == PARTS
                part = tl.where(over, 0, part)
                w = tl.where(over, w + 1, w)
            over = w == box[2] + free[2]
            w = tl.where(over, box[2], w)
            h = tl.where(over, h + 1, h)
            over = h == box[1] + free[1]
            h = tl.where(over, box[1], h)
            t = tl.where(over, t + 1, t)
    return state


@triton.jit
def tile_behind(index, box, extent, free):
    """A tile of the box that is none of its first `free` ones -> its T, H and W.

    Those are up to three slabs, behind the free part along T, H and W; one loop visits them all, because
    loops inside loops make the compiler wait for every product of matrices.
    """
    behind_t = (extent[0] - free[0]) * extent[1] * extent[2]
    behind_h = behind_t + free[0] * (extent[1] - free[1]) * extent[2]
    in_w, in_h = index >= behind_h, (index >= behind_t) & (index < behind_h)
    index -= tl.where(in_w, behind_h, tl.where(in_h, behind_t, 0))
    first_t = tl.where(in_w | in_h, 0, free[0])
    first_h = tl.where(in_h, free[1], 0)
    first_w = tl.where(in_w, free[2], 0)
    count_h = tl.where(in_w, free[1], extent[1] - first_h)
    count_w = extent[2] - first_w
    t = box[0] + first_t + index // (count_h * count_w)
    h = box[1] + first_h + index // count_w % count_h
    w = box[2] + first_w + index % count_w
    return t, h, w
