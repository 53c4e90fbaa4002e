"""The video as a grid of tokens, and the tiles that windows are made of.

A transformer sees a video as one row of tokens in raster order (t, then h, then w). Windows are boxes of
*tiles*: small blocks of neighbouring tokens. Snapping windows to tiles is what makes them fast (no mask
inside a box) and cheap to write down (three integers instead of a table).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

Triple = tuple[int, int, int]
"""One integer per axis, always in the order (T, H, W)."""

_LARGE_TILES: tuple[Triple, ...] = (
    (2, 8, 8),
    (1, 8, 16),
    (1, 16, 8),
    (2, 4, 16),
    (4, 4, 8),
    (2, 16, 4),
    (4, 8, 4),
)
"""Shapes of 128 tokens, as many as a kernel multiplies at once; the first is the nearest to a cube."""

_SMALL_TILES: tuple[Triple, ...] = ((1, 8, 8), (1, 4, 4), (1, 2, 2), (1, 1, 1))
"""For videos of which the large ones would leave few tiles."""

_CLEARLY_LESS = 0.99
"""Another shape than the first must save more than a hundredth of the work."""

_ENOUGH_TILES: Triple = (3, 4, 4)
"""Tiles per axis from which there are windows to choose from."""

_USUAL_SCALE = 2
"""How much larger than the small run the large one usually is, along H and W; the small run is not told."""


@dataclass(frozen=True)
class TokenGrid:
    """A video of `shape` tokens, cut into tiles of `tile` tokens; the last tile of an axis may be partial.

    Shapes are (T, H, W) in tokens after patchifying. Raises ValueError for a side below 1.
    """

    shape: Triple
    tile: Triple = (2, 8, 8)

    def __post_init__(self) -> None:
        for name, sides in (("shape", self.shape), ("tile", self.tile)):
            if len(sides) != 3 or any(side < 1 for side in sides):
                raise ValueError(
                    f"A token grid's {name} is three whole numbers of at least 1 (T, H, W); got {sides}."
                )

    @property
    def tokens(self) -> int:
        """Tokens of the whole video, without padding."""
        return math.prod(self.shape)

    @cached_property
    def tiles(self) -> Triple:
        """Tiles per axis, partial ones included; kept, as every head of every call asks for it."""
        t, h, w = (-(-length // side) for length, side in zip(self.shape, self.tile, strict=True))
        return t, h, w

    @property
    def tile_count(self) -> int:
        """Tiles of the whole grid, partial ones included."""
        return math.prod(self.tiles)

    @property
    def tile_tokens(self) -> int:
        """Token slots of one tile, whether they hold a token or padding."""
        return math.prod(self.tile)

    @property
    def divides(self) -> bool:
        """True if every tile is full."""
        return all(length % side == 0 for length, side in zip(self.shape, self.tile, strict=True))

    def tile_lengths(self, axis: int) -> list[int]:
        """Real tokens of each tile along one axis: the tile's side everywhere but perhaps at the end."""
        length, side = self.shape[axis], self.tile[axis]
        return [min(side, length - start) for start in range(0, length, side)]

    def to_tiles(self, x: Tensor) -> Tensor:
        """Raster order to tile order: the tokens of one tile become neighbours in memory.

        x: (B, heads, tokens, dim) -> (B, heads, tile_count * tile_tokens, dim); slots beyond the grid's end
        hold zeros (`slot_valid` tells them apart).
        """
        t, h, w = self.shape
        video = rearrange(x, "b m (t h w) d -> b m t h w d", t=t, h=h, w=w)
        if not self.divides:
            video = F.pad(video, (0, 0, *self._padding()))
        return rearrange(
            video,
            "b m (nt t) (nh h) (nw w) d -> b m (nt nh nw t h w) d",
            **self._tile_sides(),
        )

    def from_tiles(self, x: Tensor) -> Tensor:
        """Tile order back to raster order, without the padding.

        x: (B, heads, tile_count * tile_tokens, dim) -> (B, heads, tokens, dim)
        """
        nt, nh, nw = self.tiles
        video = rearrange(
            x,
            "b m (nt nh nw t h w) d -> b m (nt t) (nh h) (nw w) d",
            nt=nt,
            nh=nh,
            nw=nw,
            **self._tile_sides(),
        )
        t, h, w = self.shape
        return rearrange(video[:, :, :t, :h, :w], "b m t h w d -> b m (t h w) d")

    def sum_tiles(self, x: Tensor) -> Tensor:
        """Sum over the tokens of each tile: (B, heads, tokens, dim) -> (B, heads, tile_count, dim)."""
        return torch.unflatten(self.to_tiles(x), 2, (self.tile_count, self.tile_tokens)).sum(dim=3)

    def slot_valid(self, device: torch.device | str | None = None) -> Tensor:
        """(tile_count, tile_tokens) bool: which slots of the tile order hold a token."""
        ones = torch.ones(1, 1, self.tokens, 1, dtype=torch.bool, device=device)
        return self.to_tiles(ones).view(self.tile_count, self.tile_tokens)

    def tile_sizes(self, device: torch.device | str | None = None) -> Tensor:
        """(nT, nH, nW) int64: real tokens in each tile."""
        t, h, w = (torch.tensor(self.tile_lengths(axis), device=device) for axis in range(3))
        return t[:, None, None] * h[None, :, None] * w[None, None, :]

    def _padding(self) -> list[int]:
        """F.pad's order: last axis first, (before, after)."""
        missing = (
            count * side - length
            for count, side, length in zip(self.tiles, self.tile, self.shape, strict=True)
        )
        t, h, w = missing
        return [0, w, 0, h, 0, t]

    def _tile_sides(self) -> dict[str, int]:
        return dict(zip("thw", self.tile, strict=True))


def choose_tile(shape: Triple) -> Triple:
    """The tile that causes least work, among the largest that leave enough tiles to choose windows from.

    Large tiles are fast, but a grid of 2x2 tiles has hardly any windows. Wanted are 3 tiles along T and 4
    along H and W, or as many as there are tokens. Where a side does not divide, queries and keys of the last
    tiles are partly padding, which a kernel computes as well: 21x60x104 tokens cause a quarter more work in
    tiles of 2x8x8, and an eighth more in 1x16x8. 30x96x160 gets (2, 8, 8), 5x16x16 (1, 4, 4).
    """
    large = [tile for tile in _LARGE_TILES if _leaves_enough(shape, tile)]
    if large:
        least = min(large, key=lambda tile: _padding_work(shape, tile))
        first = large[0]
        return least if _padding_work(shape, least) < _CLEARLY_LESS * _padding_work(shape, first) else first
    return next((tile for tile in _SMALL_TILES if _leaves_enough(shape, tile)), (1, 1, 1))


def _leaves_enough(shape: Triple, tile: Triple) -> bool:
    axes = zip(TokenGrid(shape, tile).tiles, _ENOUGH_TILES, tile, shape, strict=True)
    return all(n >= min(enough, length) and side <= length for n, enough, side, length in axes)


def _padding_work(shape: Triple, tile: Triple) -> float:
    """What dense attention in whole tiles computes, as a multiple of what its tokens ask for."""
    grid = TokenGrid(shape, tile)
    return (grid.tile_count * grid.tile_tokens / grid.tokens) ** 2


def choose_reach_tile(shape: Triple) -> Triple:
    """The tile in which a low-resolution run records: what a tile of twice the size covers here.

    Windows snap to the tiles of the large grid, which matters most where a head looks near: a record in other
    tiles, even in single tokens, puts the borders of its windows elsewhere and ranks them wrongly.
    """
    frames, height, width = shape
    t, h, w = choose_tile((frames, _USUAL_SCALE * height, _USUAL_SCALE * width))
    return t, max(1, h // _USUAL_SCALE), max(1, w // _USUAL_SCALE)
