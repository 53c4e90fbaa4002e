"""What a call computes, in operations: windows are worth their trouble where they compute clearly less.

Counted is what is really done, not what was asked for: kernels that work in whole tiles compute the padding
of partial ones, and every query also sees the text and, with a tail, one key per tile.
"""

from __future__ import annotations

from ..windows.extents import computed_pairs, seen_pairs
from ..windows.grid import Triple
from .call import AttentionCall
from .registry import Backend


def dense_flops(call: AttentionCall) -> float:
    """Operations of one head without windows, over the batch; a multiply-add counts as two."""
    return _flops(call, call.q.shape[2] ** 2)


def window_flops(call: AttentionCall, extent: Triple, whole_tiles: bool) -> float:
    """Operations of one head under a window, over the batch; whole_tiles: padding is computed as well."""
    grid, text = call.grid, call.prefix + call.suffix
    pairs = computed_pairs(grid, extent) if whole_tiles else seen_pairs(grid, extent)
    queries = grid.tile_count * grid.tile_tokens if whole_tiles else grid.tokens
    beside = text + (grid.tile_count if call.tail else 0)
    return _flops(call, pairs + queries * beside + text * call.q.shape[2])


def head_flops(call: AttentionCall, backend: Backend) -> tuple[float, ...]:
    """Operations of each head under its window, as a windowed backend computes it."""
    flops = {extent: window_flops(call, extent, backend.whole_tiles) for extent in set(call.extents)}
    return tuple(flops[extent] for extent in call.extents)


def _flops(call: AttentionCall, pairs: int) -> float:
    """q·k and p·v of so many (query, key) pairs."""
    return 4.0 * call.q.shape[0] * call.q.shape[3] * pairs
