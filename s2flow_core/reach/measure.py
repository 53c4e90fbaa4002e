"""Reach: how much attention a head gives to boxes of every size around its queries.

One pass over a sample of exact softmax rows answers every later question "what would a window of this shape
cover?" (S²Flow Eq. 8, for all windows at once). The attention matrix itself is never formed: 115,200²
values per head would be 26 GB.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..attention.sequence import VideoSequence
from ..windows.extents import axis_covers
from ..windows.grid import TokenGrid
from ..windows.ladder import Knots, every_extent
from .choice import choose_tile_sums
from .tile_sums import QueryRows

LEAST_LOGITS, MOST_LOGITS = 2**16, 2**26
"""Bounds of rows x keys (or what else is held per row) at once, in float32: 256 KB to 256 MB."""

_SHARE_OF_QUERIES = 8
"""Between them, this part of the queries' own size: the measurement must not show in the model's peak."""


def measure_reach(
    q: Tensor, k: Tensor, sequence: VideoSequence, rows: Tensor, knots: Knots | None = None
) -> Tensor:
    """(heads, kT, kH, kW) float32: mean attention mass inside the boxes of these extents (S²Flow Eq. 8).

    q, k: (B, heads, tokens, dim), the tokens of `sequence`. rows: video tokens to ask for, 0 is the video's
    first. knots: per axis the extents, in tiles; None is every extent. The softmax runs over video keys
    only, because text is seen by every query anyway. Exact for the sampled rows at the resolution of the
    grid's tiles; the mean is over batch and rows. Raises WindowsNotApplicable if q and k are not
    self-attention over the sequence, or its mask is not one of keys.
    """
    sequence.check(q, k, k)
    grid, video = sequence.grid, sequence.video
    bias = sequence.bias(q.shape[0])
    factor = sequence.factor(q.shape[-1])
    rows = rows.to(q.device)
    knots = every_extent(grid.tiles) if knots is None else knots
    total = torch.zeros(q.shape[1], *map(len, knots), device=q.device)
    sum_tiles, held = choose_tile_sums(q, grid)
    no_values = k.new_empty(q.shape[1], grid.tokens, 0)
    for item, some_heads, some_rows in pieces(q, len(rows), held):
        asked = rows[some_rows]
        queries = q[item, some_heads, video][:, asked]  # (heads, rows, dim)
        item_bias = None if bias is None else bias[item, video]
        keys = k[item, some_heads, video]
        sums = sum_tiles(QueryRows(queries, keys, no_values[some_heads], item_bias, factor), grid)
        total[some_heads] += sum_in_boxes(sums.mass[..., None], grid, asked, knots).sum(dim=1)[..., 0]
    return total / (q.shape[0] * len(rows))


def sum_in_boxes(per_tile: Tensor, grid: TokenGrid, rows: Tensor, knots: Knots) -> Tensor:
    """Sum over the key tiles inside each query's box, for every combination of extents.

    per_tile: (heads, rows, tile_count, dim), what each row has in each key tile; rows: the rows' tokens.
    Boxes are products of nested runs, so three small matrix products do it: (heads, rows, kT, kH, kW, dim).
    """
    t, h, w = _runs_of_rows(grid, rows, knots)  # each (rows, extents, tiles of the axis)
    x = torch.unflatten(per_tile, 2, grid.tiles)  # (heads, rows, nT, nH, nW, dim)
    x = torch.einsum("mrthwd,rcw->mrthcd", x, w)
    x = torch.einsum("mrthcd,rbh->mrtbcd", x, h)
    return torch.einsum("mrtbcd,rat->mrabcd", x, t)


def pieces(q: Tensor, rows: int, held: int) -> list[tuple[int, slice, slice]]:
    """(batch item, heads, rows) of q (B, heads, tokens, dim), cut so that no piece takes much memory.

    rows: sampled per head; held: numbers in memory for each of them.
    """
    batch, heads = q.shape[:2]
    most = max(LEAST_LOGITS, min(MOST_LOGITS, q.numel() // _SHARE_OF_QUERIES))
    row_step = max(1, min(rows, most // held))
    head_step = max(1, most // (held * row_step))
    return [
        (item, slice(head, min(head + head_step, heads)), slice(row, min(row + row_step, rows)))
        for item in range(batch)
        for head in range(0, heads, head_step)
        for row in range(0, rows, row_step)
    ]


def _runs_of_rows(grid: TokenGrid, rows: Tensor, knots: Knots) -> tuple[Tensor, Tensor, Tensor]:
    """Per axis (rows, extents, tiles) float32, 1 where the row's run of that extent holds the key tile."""
    places = [torch.tensor(extents) - 1 for extents in knots]
    _, height, width = grid.shape
    tokens = rows // (height * width), rows // width % height, rows % width
    t, h, w = (
        axis_covers(count)[place].to(rows.device, torch.float32)[:, token // side].transpose(0, 1)
        for count, place, token, side in zip(grid.tiles, places, tokens, grid.tile, strict=True)
    )
    return t, h, w
