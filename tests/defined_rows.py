"""Windowed attention by its definition for a few query rows, on any device: a whole table of a large video
would not fit."""

from __future__ import annotations

import torch
from naive_attention import Boxes
from torch import Tensor

from s2flow_core.attention.call import AttentionCall


def boxes_of(call: AttentionCall) -> Boxes:
    return Boxes(call.grid.shape, call.grid.tile, call.extents, call.tail)


def attention_of_rows(
    qkv: tuple[Tensor, Tensor, Tensor],
    boxes: Boxes,
    rows: Tensor,
    prefix: int = 0,
    bias: Tensor | None = None,
) -> Tensor:
    """(B, heads, rows, dim) float64, as by `naive_attention`; rows: numbers of tokens, text included."""
    q, k, v = qkv
    rows = rows.to(q.device)
    out = torch.empty(*q.shape[:2], len(rows), q.shape[3], dtype=torch.float64, device=q.device)
    for item in range(q.shape[0]):
        weights = torch.zeros(q.shape[2], dtype=torch.float64, device=q.device)
        weights = weights if bias is None else bias[item].double()
        for head in range(q.shape[1]):
            asked, keys, values = (x[item, head].double() for x in (q[:, :, rows], k, v))
            out[item, head] = _of_head(asked, keys, values, weights, boxes, head, rows - prefix, prefix)
    return out


def _of_head(
    asked: Tensor,
    keys: Tensor,
    values: Tensor,
    bias: Tensor,
    boxes: Boxes,
    head: int,
    rows: Tensor,
    prefix: int,
) -> Tensor:
    """rows: counted from the video's first token; those outside the video are text, which sees every key."""
    sides = torch.tensor(boxes.tile, device=asked.device)
    shape = torch.tensor(boxes.shape, device=asked.device)
    counts = (shape + sides - 1) // sides
    tile_of = _places(boxes.shape, asked.device) // sides  # (video tokens, 3)
    in_video = (rows >= 0) & (rows < len(tile_of))
    of_rows = tile_of[rows.clamp(0, len(tile_of) - 1)]
    extent = torch.tensor(tuple(boxes.extents[head]), device=asked.device)
    first = torch.minimum((of_rows - extent // 2).clamp_min(0), counts - extent)[:, None]  # (rows, 1, 3)

    def inside(tiles: Tensor) -> Tensor:
        return ((first <= tiles) & (tiles < first + extent)).all(dim=-1)

    video = slice(prefix, prefix + len(tile_of))
    visible = torch.ones(len(rows), len(keys), dtype=torch.bool, device=asked.device)
    visible[:, video] = inside(tile_of) | ~in_video[:, None]
    extra = bias.expand(len(rows), -1).masked_fill(~visible, -torch.inf)
    if boxes.tail:
        count = int(counts.prod())
        number = (tile_of[:, 0] * counts[1] + tile_of[:, 1]) * counts[2] + tile_of[:, 2]
        weight = bias[video].exp()
        total = weight.new_zeros(count).index_add_(0, number, weight)
        means = [
            x.new_zeros(count, x.shape[1]).index_add_(0, number, weight[:, None] * x[video])
            / total.clamp_min(1e-300)[:, None]
            for x in (keys, values)
        ]
        c, t = counts.tolist(), torch.arange(count, device=asked.device)
        tiles = torch.stack([t // (c[1] * c[2]), t // c[2] % c[1], t % c[2]], dim=-1)
        skipped = ~inside(tiles) & in_video[:, None]
        keys, values = torch.cat([keys, means[0]]), torch.cat([values, means[1]])
        extra = torch.cat([extra, total.log().masked_fill(~skipped, -torch.inf)], dim=1)
    logits = asked @ keys.T * asked.shape[1] ** -0.5 + extra
    return torch.softmax(logits, dim=-1).nan_to_num(0.0) @ values


def _places(shape: tuple[int, int, int], device: torch.device) -> Tensor:
    """(tokens, 3): T, H and W of every token in raster order."""
    axes = [torch.arange(n, device=device) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)
