"""Reach: how much attention a head gives to boxes of every size around its queries.

One pass over a sample of exact softmax rows answers every later question "what would a window of this shape
cover?" (S²Flow Eq. 8, for all windows at once). The attention matrix itself is never formed: 115,200²
values per head would be 26 GB.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..attention.sequence import VideoSequence
from ..windows.grid import TokenGrid
from ..windows.ladder import Knots, every_extent
from .box_sums import BoxesOfRows, KnownBoxes
from .choice import Held, choose_tile_sums
from .tile_sums import QueryRows, TileSums

LEAST_LOGITS, MOST_LOGITS = 2**21, 2**26
"""Bounds of rows x keys (or what else is held per row) at once, in float32: 8 MB, so that a small call is not
cut into many, to 256 MB."""

_SHARE_OF_QUERIES = 8
"""Between them, this part of the queries' own numbers: the measurement must not show in the model's peak."""

MOST_BY_KERNEL = 2**27
"""On a GPU every piece is fifty launches, so where the kernel copies no keys it may be 512 MB ..."""

_SHARE_OF_BYTES = 0.5
"""... and half of the queries' bytes: the layer's feed-forward holds several times as much."""


def measure_reach(
    q: Tensor,
    k: Tensor,
    sequence: VideoSequence,
    rows: Tensor,
    knots: Knots | None = None,
    known: KnownBoxes | None = None,
) -> Tensor:
    """(heads, kT, kH, kW) float32: mean attention mass inside the boxes of these extents (S²Flow Eq. 8).

    q, k: (B, heads, tokens, dim), the tokens of `sequence`. rows: video tokens to ask for, 0 is the video's
    first. knots: per axis the extents, in tiles; None is every extent. known: of earlier calls with these
    rows, grid and knots. The softmax runs over video keys
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
    for item, some_heads, some_rows, boxes in asked_pieces(q, rows, held, (grid, knots), known):
        queries = q[item, some_heads, video][:, rows[some_rows]]  # (heads, rows, dim)
        item_bias = None if bias is None else bias[item, video]
        keys = k[item, some_heads, video]
        sums = sum_tiles(QueryRows(queries, keys, no_values[some_heads], item_bias, factor), grid)
        total[some_heads] += mass_of_boxes(sums, boxes)
    return total / (q.shape[0] * len(rows))


def mass_of_boxes(sums: TileSums, boxes: BoxesOfRows) -> Tensor:
    """(heads, kT, kH, kW): attention mass inside the boxes, summed over the rows."""
    mass = torch.unflatten(sums.mass, 2, (boxes.frames.shape[2], 1, -1))  # (heads, rows, nT, 1, nH*nW)
    inside = boxes.sums(mass.permute(1, 2, 0, 3, 4))  # (rows, kT, heads, 1, kH, kW)
    return inside[:, :, :, 0].sum(dim=0).transpose(0, 1)


def asked_pieces(
    q: Tensor, rows: Tensor, held: Held, windows: tuple[TokenGrid, Knots], known: KnownBoxes | None
) -> Iterator[tuple[int, slice, slice, BoxesOfRows]]:
    """`pieces` with the boxes around their rows, made once for all heads."""
    grid, knots = windows
    known = KnownBoxes() if known is None else known
    for item, some_heads, some_rows in pieces(q, len(rows), held):
        yield item, some_heads, some_rows, known.around(grid, rows, some_rows, knots)


def pieces(q: Tensor, rows: int, held: Held) -> list[tuple[int, slice, slice]]:
    """(batch item, heads, rows) of q (B, heads, tokens, dim), cut so that no piece takes much memory.

    rows: sampled per head; held: in memory for each of them.
    """
    batch, heads = q.shape[:2]
    if held.by_kernel:
        most = min(MOST_BY_KERNEL, int(_SHARE_OF_BYTES * q.numel() * q.element_size() / 4))
    else:
        most = min(MOST_LOGITS, q.numel() // _SHARE_OF_QUERIES)
    most = max(LEAST_LOGITS, most)
    row_step = max(1, min(rows, most // held.numbers))
    head_step = max(1, most // (held.numbers * row_step))
    return [
        (item, slice(head, min(head + head_step, heads)), slice(row, min(row + row_step, rows)))
        for row in range(0, rows, row_step)
        for item in range(batch)
        for head in range(0, heads, head_step)
    ]
