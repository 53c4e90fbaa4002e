"""The mean key and the mean value of every tile, for all heads in one launch; each number is read once.

Keys and values lie where the model has put them, in raster order. One program looks at one tile of one head.
"""

from __future__ import annotations

from collections.abc import Callable

import triton
import triton.language as tl

from .tile_tokens import tokens_of


@triton.jit(
    do_not_specialize=[
        "bias_batch_stride",
        "log_batch_stride",
        "heads",
        "shape_t",
        "shape_h",
        "shape_w",
        "tiles_h",
        "tiles_w",
    ]
)
def tile_means_kernel(
    k,
    v,
    bias,
    k_out,
    v_out,
    log_out,
    k_batch_stride,
    k_head_stride,
    k_token_stride,
    v_batch_stride,
    v_head_stride,
    v_token_stride,
    out_batch_stride,
    out_head_stride,
    bias_batch_stride,
    log_batch_stride,
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
    BIASED: tl.constexpr,
):
    """Grid: (tiles, heads, batch).

    k, v: (B, heads, tokens, DIM), strided, channels adjacent. shape: the video in tokens. k_out, v_out: (B,
    heads, tiles, DIM), rows adjacent, of equal strides. bias: (B, tokens) and log_out: (B, tiles) float32,
    the log of the sum of exp(bias) over a tile, touched if BIASED: tokens then count by exp(bias).
    """
    TILE_TOKENS: tl.constexpr = TILE_T * TILE_H * TILE_W
    tile = tl.program_id(0)
    head = tl.program_id(1).to(tl.int64)
    item = tl.program_id(2).to(tl.int64)
    k += item * k_batch_stride + head * k_head_stride
    v += item * v_batch_stride + head * v_head_stride
    channel = tl.arange(0, DIM)
    key_sum = tl.zeros([DIM], tl.float32)
    value_sum = tl.zeros([DIM], tl.float32)
    highest = -float("inf")
    total = 0.0
    for first in range(0, TILE_TOKENS, BLOCK_N):
        place = first + tl.arange(0, BLOCK_N)
        token, exists = tokens_of(
            tile, place, shape_t, shape_h, shape_w, tiles_h, tiles_w, TILE_T, TILE_H, TILE_W
        )
        token = tl.where(exists, token, 0)
        weight = tl.where(exists, 1.0, 0.0)
        if BIASED:
            own = tl.load(bias + item * bias_batch_stride + token)
            own = tl.where(exists, own, float("-inf"))
            new_highest = tl.maximum(highest, tl.max(own, 0))
            # A tile that has only met hidden keys has the maximum -inf, and -inf minus -inf is no number.
            unit = tl.where(new_highest == float("-inf"), 0.0, new_highest)
            faded = tl.exp(highest - unit)
            weight = tl.exp(own - unit)
            key_sum *= faded
            value_sum *= faded
            total *= faded
            highest = new_highest
        total += tl.sum(weight, 0)
        row = token.to(tl.int64)[:, None]
        keys = tl.load(k + row * k_token_stride + channel[None, :]).to(tl.float32)
        key_sum += tl.sum(keys * weight[:, None], 0)
        values = tl.load(v + row * v_token_stride + channel[None, :]).to(tl.float32)
        value_sum += tl.sum(values * weight[:, None], 0)
    share = tl.maximum(total, 1e-30)
    out = item * out_batch_stride + head * out_head_stride + tile.to(tl.int64) * DIM + channel
    tl.store(k_out + out, key_sum / share)
    tl.store(v_out + out, value_sum / share)
    if BIASED:
        log_weight = tl.where(total > 0.0, highest + tl.log(share), float("-inf"))
        tl.store(log_out + item * log_batch_stride + tile, log_weight, mask=head == 0)


def tile_means_programs(programs: tuple[int, int, int]) -> Callable[..., None]:
    """`tile_means_kernel`, to be called with its arguments; typed, as Triton's kernels are not.

    programs: how many tiles, heads and videos are computed.
    """
    return tile_means_kernel[programs]
