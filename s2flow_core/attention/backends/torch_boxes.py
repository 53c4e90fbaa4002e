"""Windowed attention from slices and torch's own attention kernel; runs on every device.

Query tiles that share a box of keys are computed together (`boxes.py`): slice the queries, slice the keys,
call scaled_dot_product_attention. Every query tile sees exactly its own box; nothing is rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from ..boxes import Boxes, boxes_of, strided, tiles_inside
from ..call import AttentionCall, attend, attend_text, head_runs
from ..extra_keys import ExtraKeys, extra_keys

_MOST_KEY_ELEMENTS = {"cpu": 2**21, "cuda": 2**27}
"""Numbers in the copied keys of one call, by device type: 8 MiB of float32 on a CPU, 256 MiB of half
precision on a GPU. A copy holds boxes that overlap, so without a bound it could be many times the keys.
"""

_MOST_KEY_ELEMENTS_ELSEWHERE = 2**24
"""On devices of which nothing is known, between the two."""


Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None, float], Tensor]
"""As `call.attend`."""


def run(call: AttentionCall, attention: Attend = attend) -> Tensor:
    """(B, heads, tokens, dim) of windowed attention, exact for every query tile.

    attention: what computes the boxes, of which there are as many as heads otherwise.
    """
    work = (
        (boxes, chosen)
        for extent, heads in call.heads_by_extent().items()
        for chosen in head_runs(heads)
        for boxes in boxes_of(call.grid, extent)
    )
    return attend_in_boxes(call, work, attention)


def attend_in_boxes(
    call: AttentionCall, work: Iterable[tuple[Boxes, slice]], attention: Attend = attend
) -> Tensor:
    """(B, heads, tokens, dim) of attention inside boxes.

    work: boxes with the heads that use them; every query of every head must be in exactly one box.
    """
    out = call.output()
    extra = extra_keys(call)
    for boxes, chosen in work:
        for some_boxes, some_heads in _affordable(call, boxes, chosen):
            _attend_boxes(call, some_boxes, some_heads, extra, out, attention)
    attend_text(call, out)
    if call.stats is not None:
        call.stats.possible += call.q.shape[0] * len(call.heads) * call.grid.tokens**2
    return out


def _affordable(call: AttentionCall, boxes: Boxes, heads: slice) -> Iterator[tuple[Boxes, slice]]:
    """Cut the work until the copied keys of one call fit a fixed memory; a single box is never cut."""
    batch, _, _, dim = call.q.shape
    counts = [groups.count for groups in boxes]
    keys = math.prod(groups.keys.length for groups in boxes)
    elements = batch * (heads.stop - heads.start) * math.prod(counts) * keys * dim
    most = _MOST_KEY_ELEMENTS.get(call.q.device.type, _MOST_KEY_ELEMENTS_ELSEWHERE)
    if elements <= most or (max(counts) == 1 and heads.stop - heads.start == 1):
        yield boxes, heads
    elif max(counts) > 1:
        axis = counts.index(max(counts))
        for half in boxes[axis].halves():
            t, h, w = (half if i == axis else groups for i, groups in enumerate(boxes))
            yield from _affordable(call, (t, h, w), heads)
    else:
        middle = (heads.start + heads.stop) // 2
        yield from _affordable(call, boxes, slice(heads.start, middle))
        yield from _affordable(call, boxes, slice(middle, heads.stop))


def _attend_boxes(
    call: AttentionCall, boxes: Boxes, heads: slice, extra: ExtraKeys, out: Tensor, attention: Attend
) -> None:
    """One attention call over equal boxes; writes the video tokens of `out` that belong to them."""
    queries, keys = [groups.queries for groups in boxes], [groups.keys for groups in boxes]
    q = strided(call.q[:, heads], call.grid, call.prefix, queries)  # (B, heads, gT, gH, gW, t, h, w, dim)
    folded = (q.shape[0] * q.shape[1], math.prod(q.shape[2:5]))
    k = _with_extra(
        strided(call.k[:, heads], call.grid, call.prefix, keys), extra.k, heads
    )  # (B*heads, boxes, keys, dim)
    v = _with_extra(strided(call.v[:, heads], call.grid, call.prefix, keys), extra.v, heads)
    bias = _bias(call, boxes, extra, heads)
    result = attention(q.reshape(*folded, -1, q.shape[-1]), k, v, bias, call.scale)
    strided(out[:, heads], call.grid, call.prefix, queries).copy_(result.view(q.shape))
    if call.stats is not None:
        pairs = math.prod(q.shape[:-1]) * math.prod(runs.length for runs in keys)
        call.stats.seen += pairs
        call.stats.computed += pairs


def _with_extra(boxes: Tensor, extra: Tensor | None, heads: slice) -> Tensor:
    """Append the keys that every query sees to those of each box.

    boxes: (B, heads, gT, gH, gW, t, h, w, dim); extra: (B, all heads, extra, dim)
    -> (B*heads, gT*gH*gW, t*h*w + extra, dim), a view of the boxes where memory allows.
    """
    batch, some_heads, *groups = boxes.shape[:5]
    sides, dim = boxes.shape[5:8], boxes.shape[8]
    folded = (batch * some_heads, math.prod(groups), -1, dim)
    if extra is None:
        return boxes.reshape(folded)
    inside = math.prod(sides)
    joined = boxes.new_empty(batch, some_heads, *groups, inside + extra.shape[2], dim)
    torch.unflatten(joined[..., :inside, :], -2, sides).copy_(boxes)
    joined[..., inside:, :] = extra[:, heads, None, None, None]
    return joined.view(folded)


def _bias(call: AttentionCall, boxes: Boxes, extra: ExtraKeys, heads: slice) -> Tensor | None:
    """(B*heads, boxes, keys of a box + extra) additive, or None where nothing is hidden or weighted."""
    if extra.bias is None and extra.video_bias is None:
        return None
    counts = tuple(groups.count for groups in boxes)
    inside = math.prod(groups.keys.length for groups in boxes)
    batch, device = call.q.shape[0], call.q.device
    if extra.video_bias is None:
        video = torch.zeros(batch, *counts, inside, device=device)
    else:
        keys = [groups.keys for groups in boxes]
        video = strided(extra.video_bias[:, None, :, None], call.grid, call.prefix, keys).reshape(
            batch, *counts, inside
        )
    parts = [video]  # each (B, gT, gH, gW, keys)
    if extra.bias is not None:
        parts.append(extra.bias[:, None, None, None].expand(-1, *counts, -1))
    if extra.tail_tiles:
        hidden = tiles_inside(call.grid, boxes, device)  # (gT, gH, gW, tiles)
        tail = parts[-1][..., -extra.tail_tiles :].masked_fill(hidden, float("-inf"))
        parts[-1] = torch.cat([parts[-1][..., : -extra.tail_tiles], tail], dim=-1)
    bias = torch.cat(parts, dim=-1).flatten(1, 3)  # (B, boxes, keys)
    some_heads = heads.stop - heads.start
    return bias[:, None].expand(-1, some_heads, -1, -1).flatten(0, 1)
