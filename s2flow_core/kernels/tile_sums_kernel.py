"""What sampled query rows take from each key tile, without the rows' logits in memory.

One program looks at one key tile with BLOCK_M of the rows. The sum over the tile of exp(q.k), and the mean of
a few projected values that it weighs, are all that box sums need, so nothing is carried from tile to tile.
Keys are read where they lie in the raster, each once per BLOCK_M rows: no copy in tile order is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import triton
import triton.language as tl

LN_2 = tl.constexpr(math.log(2.0))


@triton.jit(do_not_specialize=["tokens", "rows", "shape_t", "shape_h", "shape_w", "tiles_h", "tiles_w"])
def tile_sums_kernel(
    q,
    k,
    values,
    bias,
    lse_out,
    means_out,
    k_head_stride,
    k_token_stride,
    tokens,
    rows,
    shape_t,
    shape_h,
    shape_w,
    tiles_h,
    tiles_w,
    scale,
    TILE_T: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
    DIM: tl.constexpr,
    CHANNELS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BIASED: tl.constexpr,
):
    """Grid: (blocks of rows x tiles, heads).

    q: (heads, rows, DIM), dense. k: (heads, tokens, DIM), strided, channels adjacent. shape: the video in
    tokens. scale: softmax scale times log2(e). bias: (tokens,) divided by the softmax scale, read if BIASED.
    values: (heads, tokens, COLUMNS), dense, the first CHANNELS of them in use; not read if there are none.
    lse_out: (heads, tiles, rows) float32, log of the sum of exp(scaled logit) over the tile's tokens.
    means_out: (heads, tiles, rows, CHANNELS) float32, the values weighed by exp(scaled logit).
    """
    TILE_TOKENS: tl.constexpr = TILE_T * TILE_H * TILE_W
    row_blocks = tl.cdiv(rows, BLOCK_M)
    row = tl.program_id(0) % row_blocks * BLOCK_M + tl.arange(0, BLOCK_M)
    tile = tl.program_id(0) // row_blocks
    tiles = tl.num_programs(0) // row_blocks
    head = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, DIM)[None, :]
    q_row = head * rows + tl.minimum(row, rows - 1)
    queries = tl.load(q + q_row[:, None] * DIM + channel)

    state_max = tl.full([BLOCK_M], float("-inf"), tl.float32)
    state_sum = tl.zeros([BLOCK_M], tl.float32)
    if CHANNELS > 0:
        column = tl.arange(0, COLUMNS)[None, :]
        sums = tl.zeros([BLOCK_M, COLUMNS], tl.float32)
    for first in range(0, TILE_TOKENS, BLOCK_N):
        place = first + tl.arange(0, BLOCK_N)
        t = tile // (tiles_h * tiles_w) * TILE_T + place // (TILE_H * TILE_W)
        h = tile // tiles_w % tiles_h * TILE_H + place // TILE_W % TILE_H
        w = tile % tiles_w * TILE_W + place % TILE_W
        exists = (t < shape_t) & (h < shape_h) & (w < shape_w)
        token = tl.where(exists, (t * shape_h + h) * shape_w + w, 0)
        k_row = head * k_head_stride + token.to(tl.int64) * k_token_stride
        keys = tl.load(k + k_row[:, None] + channel)
        logits = tl.dot(queries, tl.trans(keys), input_precision="ieee")
        if BIASED:
            logits += tl.load(bias + token)[None, :]
        logits = tl.where(exists[None, :], logits * scale, float("-inf"))
        new_max = tl.maximum(state_max, tl.max(logits, 1))
        # A row that has only met hidden keys has the maximum -inf, and -inf minus -inf is no number.
        reference = tl.where(new_max == float("-inf"), 0.0, new_max)
        faded = tl.math.exp2(state_max - reference)
        weights = tl.math.exp2(logits - reference[:, None])
        state_sum = state_sum * faded + tl.sum(weights, 1)
        state_max = new_max
        if CHANNELS > 0:
            value_row = (head * tokens + token) * COLUMNS
            tile_values = tl.load(values + value_row[:, None] + column)
            sums = sums * faded[:, None]
            sums = tl.dot(weights.to(tile_values.dtype), tile_values, sums, input_precision="ieee")
    lse = tl.where(state_sum > 0.0, (state_max + tl.math.log2(state_sum)) * LN_2, float("-inf"))
    out_row = (head * tiles + tile) * rows + row
    tl.store(lse_out + out_row, lse, mask=row < rows)
    if CHANNELS > 0:
        means = sums / tl.maximum(state_sum, 1e-30)[:, None]
        stored = (row < rows)[:, None] & (column < CHANNELS)
        tl.store(means_out + out_row[:, None] * CHANNELS + column, means, mask=stored)


def tile_sums_programs(programs: tuple[int, int]) -> Callable[..., None]:
    """`tile_sums_kernel`, to be called with its arguments; typed, as Triton's kernels are not.

    programs: how many pairs of a key tile and a block of rows, and how many heads are computed.
    """
    return tile_sums_kernel[programs]
