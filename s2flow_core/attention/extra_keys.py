"""Keys that every query sees beside its box: text, and with a tail the mean of every tile."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..windows.grid import TokenGrid
from .call import AttentionCall

_HIDDEN = -6e4
"""Hosts hide a key with -inf or with the lowest number of some dtype; all of those are below this."""


@dataclass(frozen=True)
class ExtraKeys:
    """k, v: (B, heads, extra, dim), text first and then one mean per tile, or None without either.

    bias: (B, extra) float32 added to their logits; None if no key of the call is hidden or weighted. The
    last `tail_tiles` of them are tiles; a box must hide those that it holds itself. video_bias: (B, tokens)
    for the keys inside boxes, or None if none of those is hidden.
    """

    k: Tensor | None
    v: Tensor | None
    bias: Tensor | None
    tail_tiles: int
    video_bias: Tensor | None


def extra_keys(call: AttentionCall) -> ExtraKeys:
    """Gather the text and, if the call wants a tail, the tiles' means."""
    video_bias = call.key_bias
    if video_bias is not None and not video_bias[:, call.video].any():
        video_bias = None
    parts = [_text(call)] if call.text else []
    if call.tail:
        parts.append(tile_means(call))
    if not parts:
        return ExtraKeys(None, None, None, 0, video_bias)
    keys, values, biases = zip(*parts, strict=True)
    bias = None
    if video_bias is not None or any(b is not None for b in biases):
        batch, device = call.q.shape[0], call.q.device
        shown = [
            torch.zeros(batch, k.shape[2], device=device) if b is None else b
            for k, b in zip(keys, biases, strict=True)
        ]
        bias = torch.cat(shown, dim=1)  # (B, extra)
    tail_tiles = call.grid.tile_count if call.tail else 0
    return ExtraKeys(torch.cat(keys, dim=2), torch.cat(values, dim=2), bias, tail_tiles, video_bias)


def tile_means(call: AttentionCall) -> tuple[Tensor, Tensor, Tensor]:
    """Every tile as one key: mean key, mean value (B, heads, tiles, dim) and log of its weight (B, tiles).

    The weight is the number of tokens; with a key bias, tokens count by exp(bias), so hidden ones do not.
    """
    grid = call.grid
    batch = call.k.shape[0]
    weight = torch.ones(1, 1, grid.tokens, 1, device=call.k.device)
    highest = 0.0
    if call.key_bias is not None:
        bias = call.key_bias[:, None, call.video, None]
        highest = bias.max().clamp_min(torch.finfo(torch.float32).min)
        weight = (bias - highest).exp()
    total = grid.sum_tiles(weight)  # (B or 1, 1, tiles, 1)
    share = total.clamp_min(torch.finfo(torch.float32).tiny)
    k, v = (_weighted_means(x[:, :, call.video], weight, share, grid) for x in (call.k, call.v))
    return k, v, (total.log() + highest)[:, 0, :, 0].expand(batch, -1)


def _text(call: AttentionCall) -> tuple[Tensor, Tensor, Tensor | None]:
    """Keys, values (B, heads, text, dim) and bias (B, text) of the tokens around the video.

    Padding that no prompt of the batch uses is left out, which spares every box a mask.
    """
    k, v = (torch.cat([x[:, :, run] for run in call.text], dim=2) for x in (call.k, call.v))
    if call.key_bias is None:
        return k, v, None
    bias = torch.cat([call.key_bias[:, run] for run in call.text], dim=1)  # (B, text)
    used = (bias > _HIDDEN).any(dim=0)
    if not used.all():
        k, v, bias = k[:, :, used], v[:, :, used], bias[:, used]
    return k, v, bias if bias.any() else None


def _weighted_means(x: Tensor, weight: Tensor, share: Tensor, grid: TokenGrid) -> Tensor:
    """(B, heads, video tokens, dim) -> (B, heads, tiles, dim).

    Head by head: all heads at once, in float32 and in tile order, would be several times the size of x.
    """
    means = x.new_empty(*x.shape[:2], grid.tile_count, x.shape[3])
    for head in range(x.shape[1]):
        one = slice(head, head + 1)
        means[:, one] = grid.sum_tiles(x[:, one].float() * weight) / share
    return means
