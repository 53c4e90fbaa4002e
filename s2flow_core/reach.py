"""Reach: how much attention a head gives to boxes of every size around its queries.

One pass over a sample of exact softmax rows answers every later question "what would a window of this shape
cover?" (S²Flow Eq. 8, for all windows at once). The attention matrix itself is never formed: 115,200²
values per head would be 26 GB.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from .grid import TokenGrid, Triple
from .key_mask import key_bias
from .tile_sums import QueryRows, choose_tile_sums
from .windows import axis_covers, axis_shares

_LEAST_LOGITS, _MOST_LOGITS = 2**16, 2**26
"""Bounds of rows x keys (or what else is held per row) at once, in float32: 256 KB to 256 MB."""
_SHARE_OF_QUERIES = 8
"""Between them, this part of the queries' own size: the measurement must not show in the model's peak."""


@dataclass(frozen=True)
class AttentionReach:
    """What every head of every recorded step looks at, as a function of window size; CPU tensors.

    mass: (steps, layers, heads, nT, nH, nW) half precision; entry [..., a-1, b-1, c-1] is the mean
    attention mass, 0...1, inside the window of extent (a, b, c) in tiles of `tile` on a video of `shape`
    tokens. error: the same shape, or None; the output error of that window as
    `measure_reach_and_error` defines it.
    """

    mass: Tensor
    shape: Triple
    tile: Triple
    error: Tensor | None = None

    def __post_init__(self) -> None:
        for name, values in (("mass", self.mass), ("error", self.error)):
            if values is not None and (values.ndim != 6 or tuple(values.shape[3:]) != self.grid.tiles):
                raise ValueError(
                    f"The attention record's {name} has shape {tuple(values.shape)}; a video of {self.shape} "
                    f"tokens in tiles of {self.tile} needs (steps, layers, heads, {self.grid.tiles})."
                )

    @property
    def grid(self) -> TokenGrid:
        return TokenGrid(self.shape, self.tile)

    @property
    def steps(self) -> int:
        return self.mass.shape[0]

    def coverage(self, fractions: Tensor, step: int | None = None) -> Tensor:
        """Attention mass inside any windows, trilinear between the recorded ones.

        fractions: (J, 3), size of each window as a share of the grid per axis, 0...1; so the same window
        can be asked for on a grid of any resolution. Returns (steps, layers, heads, J) float32, or (layers,
        heads, J) of one step: nothing covers nothing, the whole grid covers 1.
        """
        knots = axis_shares(self.grid)
        t, h, w = (_interpolation(knots[axis], fractions[:, axis], 0.0) for axis in range(3))
        weights = torch.einsum("jt,jh,jw->jthw", t, h, w).flatten(1)  # (J, nT*nH*nW)
        mass = self.mass if step is None else self.mass[step]
        return (mass.float().flatten(-3) @ weights.T).clamp_(0.0, 1.0)

    def coverage_table(self, step: int, shares: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """`coverage` of all combinations of three lists of shares: (layers, heads, len T, len H, len W)."""
        return self._table(self.mass[step], shares, below_first=0.0).clamp_(0.0, 1.0)

    def error_table(self, step: int, shares: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Output error of the same windows; raises ValueError if none was recorded."""
        if self.error is None:
            raise ValueError(
                "This trajectory holds no record of output errors, which the policy 'error' weighs heads by. "
                "Choose the policy 'paper', or run the Low-Res Sampler with capture_error switched on."
            )
        return self._table(self.error[step], shares, below_first=1.0)

    def _table(self, values: Tensor, shares: tuple[Tensor, Tensor, Tensor], below_first: float) -> Tensor:
        """Separable interpolation: (layers, heads, nT, nH, nW) -> (layers, heads, len T, len H, len W)."""
        t, h, w = (
            _interpolation(knots, at, below_first)
            for knots, at in zip(axis_shares(self.grid), shares, strict=True)
        )
        # One axis at a time, always the last one, so that each step is a single large matrix product.
        values = values.float() @ w.T  # (layers, heads, nT, nH, len W)
        values = values.movedim(3, -1) @ h.T  # (layers, heads, nT, len W, len H)
        values = values.movedim(2, -1) @ t.T  # (layers, heads, len W, len H, len T)
        return rearrange(values, "l m w h t -> l m t h w").contiguous()


def sample_query_rows(grid: TokenGrid, rows: int, seed: int) -> Tensor:
    """(rows,) int64, ascending: video tokens spread over the whole 3D grid, one drawn from each of `rows`
    blocks.

    The tokens are put into Z-order, whose stretches are compact blocks of the grid, and one is drawn from
    each of `rows` equal stretches. No token is drawn twice; more rows than tokens give every token once.
    """
    if rows < 1:
        raise ValueError(f"At least one query row must be sampled to measure attention; got {rows}.")
    order = _z_order(grid.shape)
    rows = min(rows, grid.tokens)
    bounds = torch.arange(rows + 1) * grid.tokens // rows
    drawn = torch.rand(rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    picks = bounds[:-1] + (drawn * bounds.diff()).long()
    return order[picks].sort().values


def measure_reach(
    q: Tensor,
    k: Tensor,
    grid: TokenGrid,
    rows: Tensor,
    prefix: int = 0,
    suffix: int = 0,
    key_mask: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """(heads, nT, nH, nW) float32: mean attention mass inside the box of every extent (S²Flow Eq. 8).

    q, k: (B, heads, tokens, dim), tokens = prefix + grid.tokens + suffix. rows: video tokens to ask for, 0
    is the video's first. The softmax runs over video keys only, because text is seen by every query anyway.
    Exact for the sampled rows at the resolution of the grid's tiles; the mean is over batch and rows.
    """
    heads = q.shape[1]
    video = slice(prefix, prefix + grid.tokens)
    if prefix + grid.tokens + suffix != q.shape[2]:
        raise ValueError(f"{q.shape[2]} tokens are not {prefix} + {grid.tokens} + {suffix}.")
    bias = key_bias(key_mask, q.shape[0], q.shape[2])
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    rows = rows.to(q.device)
    total = torch.zeros(heads, *grid.tiles, device=q.device)
    sum_tiles, held = choose_tile_sums(q, grid)
    no_values = k.new_empty(heads, grid.tokens, 0)
    for item, some_heads, some_rows in pieces(q, len(rows), held):
        asked = rows[some_rows]
        queries = q[item, some_heads, video][:, asked]  # (heads, rows, dim)
        item_bias = None if bias is None else bias[item, video]
        keys = k[item, some_heads, video]
        sums = sum_tiles(QueryRows(queries, keys, no_values[some_heads], item_bias, factor), grid)
        total[some_heads] += sum_in_boxes(sums.mass[..., None], grid, asked).sum(dim=1)[..., 0]
    return total / (q.shape[0] * len(rows))


def sum_in_boxes(per_tile: Tensor, grid: TokenGrid, rows: Tensor) -> Tensor:
    """Sum over the key tiles inside each query's box, for every extent.

    per_tile: (heads, rows, tile_count, dim), what each row has in each key tile; rows: the rows' tokens.
    Boxes are products of nested runs, so three small matrix products do it: (heads, rows, nT, nH, nW, dim).
    """
    t, h, w = _runs_of_rows(grid, rows)  # each (rows, extents, tiles of the axis)
    x = per_tile.unflatten(2, grid.tiles)  # (heads, rows, nT, nH, nW, dim)
    x = torch.einsum("mrthwd,rcw->mrthcd", x, w)
    x = torch.einsum("mrthcd,rbh->mrtbcd", x, h)
    return torch.einsum("mrtbcd,rat->mrabcd", x, t)


def pieces(q: Tensor, rows: int, held: int) -> list[tuple[int, slice, slice]]:
    """(batch item, heads, rows) of q (B, heads, tokens, dim), cut so that no piece takes much memory.

    rows: sampled per head; held: numbers in memory for each of them.
    """
    batch, heads = q.shape[:2]
    most = max(_LEAST_LOGITS, min(_MOST_LOGITS, q.numel() // _SHARE_OF_QUERIES))
    row_step = max(1, min(rows, most // held))
    head_step = max(1, most // (held * row_step))
    return [
        (item, slice(head, min(head + head_step, heads)), slice(row, min(row + row_step, rows)))
        for item in range(batch)
        for head in range(0, heads, head_step)
        for row in range(0, rows, row_step)
    ]


def _runs_of_rows(grid: TokenGrid, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Per axis (rows, extents, tiles) float32, 1 where the row's run of that extent holds the key tile."""
    _, height, width = grid.shape
    tokens = rows // (height * width), rows // width % height, rows % width
    t, h, w = (
        axis_covers(count).to(rows.device, torch.float32)[:, token // side].transpose(0, 1)
        for count, token, side in zip(grid.tiles, tokens, grid.tile, strict=True)
    )
    return t, h, w


def _interpolation(knots: Tensor, at: Tensor, below_first: float) -> Tensor:
    """(len(at), len(knots)) float32: weights of linear interpolation between ascending knots.

    Below the first knot the weights sum to less than 1 and reach `below_first` at zero.
    """
    at = at.double().clamp(0.0, 1.0)
    knots = torch.cat([knots.new_zeros(1), knots.double()])
    right = torch.searchsorted(knots, at).clamp(1, len(knots) - 1)
    share = ((at - knots[right - 1]) / (knots[right] - knots[right - 1])).clamp(0.0, 1.0)
    weights = torch.zeros(len(at), len(knots), dtype=torch.float64)
    index = torch.arange(len(at))
    weights[index, right - 1] = 1.0 - share
    weights[index, right] = share
    weights[:, 1] += below_first * weights[:, 0]
    return weights[:, 1:].float()


def _z_order(shape: Triple) -> Tensor:
    """(tokens,) int64: the grid's tokens along the Z-order (Morton) curve."""
    t, h, w = torch.meshgrid(*(torch.arange(side) for side in shape), indexing="ij")
    code = torch.zeros(shape, dtype=torch.int64)
    for bit in range(max(shape).bit_length()):
        for place, axis in enumerate((w, h, t)):
            code |= (axis >> bit & 1) << (3 * bit + place)
    return code.flatten().argsort()
