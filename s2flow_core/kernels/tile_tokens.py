"""Where the tokens of a tile lie in raster order, inside a kernel."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def tokens_of(
    tile,
    place,
    shape_t,
    shape_h,
    shape_w,
    tiles_h,
    tiles_w,
    TILE_T: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
):
    """(numbers of the tokens at `place` in a tile, which of them exist); shape: the video in tokens.

    place: in raster order inside the tile. Numbers of tokens beyond the video's end mean nothing.
    """
    t = tile // (tiles_h * tiles_w) * TILE_T + place // (TILE_H * TILE_W)
    h = tile // tiles_w % tiles_h * TILE_H + place // TILE_W % TILE_H
    w = tile % tiles_w * TILE_W + place % TILE_W
    return (t * shape_h + h) * shape_w + w, (t < shape_t) & (h < shape_h) & (w < shape_w)
