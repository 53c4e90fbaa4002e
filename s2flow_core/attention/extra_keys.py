"""Keys that every query sees beside its box: text, and with a tail the mean of every tile."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .call import AttentionCall, head_runs
from .tile_means import WriteMeans, torch_tile_means

_HIDDEN = -6e4
"""Hosts hide a key with -inf or with the lowest number of some dtype; all of those are below this."""


@dataclass(frozen=True)
class ExtraKeys:
    """k, v: (B, heads, extra, dim), text first, then one mean per tile, then padding; None without any.

    Of heads that the call does not ask for the means are not written. bias: (B, extra) float32 added to their
    logits; None if no key of the call is hidden or weighted. text, tail_tiles: how many are text and tiles; a
    box must hide those tiles that it holds itself. video_bias: (B, tokens) for the keys inside boxes, or None
    if none of those is hidden.
    """

    k: Tensor | None
    v: Tensor | None
    bias: Tensor | None
    text: int
    tail_tiles: int
    video_bias: Tensor | None


def extra_keys(
    call: AttentionCall, multiple: int = 1, write_means: WriteMeans = torch_tile_means
) -> ExtraKeys:
    """Gather the text and, if the call wants a tail, the tiles' means, each number written once.

    multiple: of keys, reached by padding with hidden ones; write_means: how the tiles' means are computed.
    """
    hidden = video_bias(call)
    shown = _shown_text(call)
    text = sum(run.stop - run.start for run in call.text) if shown is None else len(shown)
    tail = call.grid.tile_count if call.tail else 0
    if not text + tail:
        return ExtraKeys(None, None, None, 0, 0, hidden)
    batch, heads, _, dim = call.q.shape
    count = text + tail + -(text + tail) % multiple
    k, v = (x.new_empty(batch, heads, count, dim) for x in (call.k, call.v))
    for x, out in ((call.k, k), (call.v, v)):
        _write_text(call, x, shown, out[:, :, :text])
        out[:, :, text + tail :] = 0.0
    log_weight = None
    if tail:
        for some in head_runs(call.heads):
            part = replace(call, q=call.q[:, some], k=call.k[:, some], v=call.v[:, some])
            log_weight = write_means(part, *(x[:, some, text : text + tail] for x in (k, v)))
    text_bias = _text_bias(call, shown)
    bias = None
    if any(x is not None for x in (hidden, text_bias, log_weight)) or count > text + tail:
        bias = torch.zeros(batch, count, device=call.q.device)
        bias[:, text + tail :] = float("-inf")
        if text_bias is not None:
            bias[:, :text] = text_bias
        if log_weight is not None:
            bias[:, text : text + tail] = log_weight
    return ExtraKeys(k, v, bias, text, tail, hidden)


def video_bias(call: AttentionCall) -> Tensor | None:
    """The call's bias if it hides or weighs any key of the video."""
    bias = call.key_bias
    if bias is None:
        return None
    in_video = call.masks.once(bias, ("video", call.prefix), lambda: bool(bias[:, call.video].any()))
    return bias if in_video else None


def _shown_text(call: AttentionCall) -> Tensor | None:
    """Numbers of the text tokens that a prompt of the batch uses; None if those are all of them.

    Leaving the padding out spares every box a mask.
    """
    bias = call.key_bias
    if bias is None or not call.text:
        return None

    def read() -> Tensor | None:
        places = torch.cat([torch.arange(run.start, run.stop, device=bias.device) for run in call.text])
        used = (bias[:, places] > _HIDDEN).any(dim=0)
        return None if used.all() else places[used]

    return call.masks.once(bias, ("text", call.prefix, call.suffix), read)


def _text_bias(call: AttentionCall, shown: Tensor | None) -> Tensor | None:
    """(B, text) of the text that is shown; None if nothing of it is hidden or weighted."""
    bias = call.key_bias
    if bias is None or not call.text:
        return None

    def read() -> Tensor | None:
        of_text = torch.cat([bias[:, run] for run in call.text], dim=1) if shown is None else bias[:, shown]
        return of_text if of_text.any() else None

    return call.masks.once(bias, ("text bias", call.prefix, call.suffix), read)


def _write_text(call: AttentionCall, x: Tensor, shown: Tensor | None, out: Tensor) -> None:
    """The text of x (B, heads, tokens, dim) into `out` (B, heads, text, dim)."""
    if shown is not None:
        out.copy_(x.index_select(2, shown))
        return
    first = 0
    for run in call.text:
        out[:, :, first : first + run.stop - run.start] = x[:, :, run]
        first += run.stop - run.start
