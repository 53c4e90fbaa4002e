"""Windowed attention by its definition: one float64 score matrix, one boolean table, no tiles in memory.

It shares no code with the pack, so agreement means something.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def visible_axis(length: int, side: int, extent: int) -> Tensor:
    """(length, length) bool: which tokens of one axis a token sees."""
    tiles = -(-length // side)
    table = torch.zeros(length, length, dtype=torch.bool)
    for query in range(length):
        start = query // side - extent // 2
        start = max(0, min(start, tiles - extent))
        table[query, start * side : (start + extent) * side] = True
    return table


def visible_video(shape, tile, extent) -> Tensor:
    """(tokens, tokens) bool for a video in raster order."""
    t, h, w = (visible_axis(*axis) for axis in zip(shape, tile, extent, strict=True))
    table = (
        t[:, None, None, :, None, None] & h[None, :, None, None, :, None] & w[None, None, :, None, None, :]
    )
    tokens = t.shape[0] * h.shape[0] * w.shape[0]
    return table.reshape(tokens, tokens)


def tile_of_token(shape, tile) -> Tensor:
    """(tokens,) int64: number of the tile that holds each token."""
    counts = [-(-length // side) for length, side in zip(shape, tile, strict=True)]
    numbers = []
    for t in range(shape[0]):
        for h in range(shape[1]):
            for w in range(shape[2]):
                numbers.append(((t // tile[0]) * counts[1] + h // tile[1]) * counts[2] + w // tile[2])
    return torch.tensor(numbers)


@dataclass(frozen=True)
class Boxes:
    """What every query sees: a box of tiles per head, and with `tail` the mean of every other tile."""

    shape: tuple[int, int, int]  # (T, H, W) tokens
    tile: tuple[int, int, int]
    extents: Sequence[Sequence[int]]  # one (a, b, c) per head
    tail: bool = False


def attention(q, k, v, boxes: Boxes, prefix=0, bias=None, scale=None) -> Tensor:
    """(B, heads, tokens, dim) float64. bias: (B, tokens) added to the logits of each key, or None."""
    batch, heads, tokens, dim = q.shape
    shape, tile = boxes.shape, boxes.tile
    q, k, v = q.double(), k.double(), v.double()
    video = slice(prefix, prefix + shape[0] * shape[1] * shape[2])
    bias = torch.zeros(batch, tokens, dtype=torch.float64) if bias is None else bias.double()
    out = torch.zeros_like(q)
    for item in range(batch):
        for head in range(heads):
            keys, values = k[item, head], v[item, head]
            visible = torch.ones(tokens, tokens, dtype=torch.bool)
            visible[video, video] = visible_video(shape, tile, boxes.extents[head])
            extra = bias[item].expand(tokens, tokens).masked_fill(~visible, -torch.inf)
            if boxes.tail:
                tile_keys, tile_values, tile_extra = _tail(
                    keys[video],
                    values[video],
                    bias[item, video],
                    tile_of_token(shape, tile),
                    visible[video, video],
                )
                keys, values = torch.cat([keys, tile_keys]), torch.cat([values, tile_values])
                of_text = torch.full((tokens, len(tile_keys)), -torch.inf, dtype=torch.float64)
                of_text[video] = tile_extra
                extra = torch.cat([extra, of_text], dim=1)
            logits = q[item, head] @ keys.T * (dim**-0.5 if scale is None else scale) + extra
            weights = torch.softmax(logits, dim=-1).nan_to_num(0.0)  # a row without keys gives zeros
            out[item, head] = weights @ values
    return out


def _tail(keys, values, bias, tile_of, visible):
    """Mean key, mean value and, per query, log weight of every tile that the query does not see."""
    weight = bias.exp()
    tile_keys, tile_values, extra = [], [], []
    for number in range(int(tile_of.max()) + 1):
        inside = tile_of == number
        total = weight[inside].sum()
        share = weight[inside] / total if total > 0 else weight[inside]
        tile_keys.append((share[:, None] * keys[inside]).sum(0))
        tile_values.append((share[:, None] * values[inside]).sum(0))
        skipped = ~visible[:, inside].any(dim=1)
        extra.append(torch.where(skipped, total.log(), -torch.inf))
    return torch.stack(tile_keys), torch.stack(tile_values), torch.stack(extra, dim=1)
