"""Small calls that stand for a large one: to see how fast a backend is, and whether its numbers are right."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from ..windows.grid import TokenGrid, Triple
from .backends import torch_boxes
from .call import AttentionCall
from .registry import Backend
from .work import dense_flops, window_flops

_SEED = 0
_CPU_SHAPE, _CPU_HEADS = (4, 16, 16), 2
"""1,024 tokens: a few hundredths of a second on two cores."""

_HEADS = 4
_SHAPES: tuple[Triple, ...] = ((4, 64, 64), (8, 64, 64), (16, 64, 64), (16, 128, 64), (16, 128, 128))
"""16,384 to 262,144 tokens; each is four times the work of the one before and twice the memory."""

_ENOUGH_SECONDS = 0.02
"""Launching a call from Python takes a millisecond on some hosts, and large calls hide it: where a run takes
this long, it is a twentieth at most. A slow GPU stops at the first size."""

_MOST_BYTES = 2**30
"""Of q, k, v and the result of such a call ..."""

_MOST_OF_FREE = 0.25
"""... which may be this part of what is free; windows in torch take as much again."""

_MOST_DRAWN = 2**20
"""Random numbers drawn for a tensor; they repeat in larger ones, because the CPU draws them."""

_REPEATS = {"cpu": 1}
_REPEATS_ELSEWHERE = 3
_CHECKED_TILES: Triple = (2, 2, 3)
_CHECKED_EXTENTS: tuple[Triple, ...] = ((1, 2, 2), (2, 1, 3))
"""Even and odd windows, pushed inward at the borders and not."""

_TEXT = 7
_SHARE_HIDDEN = 0.3


class Computes(Protocol):
    """A backend, or the attention that is installed."""

    @property
    def name(self) -> str:
        """What it is called in the log and in a `Choice`."""
        ...

    def run(self, call: AttentionCall) -> Tensor:
        """(B, heads, tokens, dim) of the call's attention, in q's dtype."""
        ...


def variant(call: AttentionCall) -> str:
    """What of a call makes a kernel run other code: tile, partial tiles, text, tail, mask; as words."""
    grid = call.grid
    parts = ["x".join(map(str, grid.tile))]
    if not grid.divides:
        parts.append("partial " + "x".join(map(str, _remainders(grid))))
    parts += ["text"] if call.text else []
    parts += ["tail"] if call.tail else []
    parts += ["mask"] if call.key_bias is not None else []
    return ", ".join([*parts, str(call.q.dtype).removeprefix("torch."), str(call.q.shape[3])])


def rate(computes: Computes, like: AttentionCall) -> float:
    """Operations per second on the work really done, in the dtype, head size and tile of the call `like`.

    On a GPU calls grow until launching them takes no part of the time that is worth a word, or memory ends.
    Raises what the backend raises.
    """
    if like.q.device.type == "cpu":
        return _rate_at(_CPU_SHAPE, _CPU_HEADS, computes, like)[0]
    found = 0.0
    for shape in _SHAPES:
        if found and _bytes(shape, like) > min(_MOST_BYTES, _MOST_OF_FREE * _free_bytes(like.q.device)):
            break
        try:
            found, seconds = _rate_at(shape, _HEADS, computes, like)
        except Exception:  # memory, or a size that the kernel refuses: the smaller call has told enough
            if not found:
                raise
            break
        if seconds >= _ENOUGH_SECONDS:
            break
    return found


def _rate_at(shape: Triple, heads: int, computes: Computes, like: AttentionCall) -> tuple[float, float]:
    """Operations per second in a call of this size, and the seconds that it takes."""
    grid = TokenGrid(shape, like.grid.tile)
    _, rows, columns = grid.tiles
    extent = (grid.tiles[0], max(1, rows // 2), max(1, columns // 2))
    call = _random_call(like, grid, (extent,) * heads)
    flops = dense_flops(call)
    if isinstance(computes, Backend) and computes.windows:
        flops = window_flops(call, extent, computes.whole_tiles)
    seconds = _seconds(computes, call)
    return flops * heads / seconds, seconds


def _bytes(shape: Triple, like: AttentionCall) -> int:
    """Of q, k, v and the result."""
    return 4 * math.prod(shape) * _HEADS * like.q.shape[3] * like.q.element_size()


def _free_bytes(device: torch.device) -> int:
    """What a GPU and torch's own store have left; 0 where nobody tells."""
    if device.type != "cuda":
        return 0
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def deviation(backend: Backend, like: AttentionCall) -> float:
    """|result - reference| / |reference| of a kernel on two heads and a few tiles; NaN if it gives any.

    The reference is torch in float32 on the CPU. The call is of the same variant as `like`, to the remainder
    of its partial tiles. Raises what the backend raises.
    """
    sides = zip(_CHECKED_TILES, like.grid.tile, _remainders(like.grid), strict=True)
    t, h, w = ((count - 1) * side + rest for count, side, rest in sides)
    call = _random_call(like, TokenGrid((t, h, w), like.grid.tile), _CHECKED_EXTENTS)
    q, k, v = (x.float().cpu() for x in (call.q, call.k, call.v))
    bias = None if call.key_bias is None else call.key_bias.cpu()
    reference = torch_boxes.run(replace(call, q=q, k=k, v=v, key_bias=bias))
    result = backend.run(call).float().cpu()
    return ((result - reference).square().sum() / reference.square().sum()).sqrt().item()


def _random_call(like: AttentionCall, grid: TokenGrid, extents: tuple[Triple, ...]) -> AttentionCall:
    """A call of one video with random numbers, tokens before heads in memory as models have them; with text
    and mask where `like` has them."""
    device, dtype, dim = like.q.device, like.q.dtype, like.q.shape[3]
    text = _TEXT if like.text else 0
    generator = torch.Generator().manual_seed(_SEED)
    shape = (1, grid.tokens + text, len(extents), dim)
    drawn = min(shape[1], max(1, _MOST_DRAWN // (shape[2] * dim)))
    times = -(-shape[1] // drawn)

    def numbers() -> Tensor:
        few = torch.randn(1, drawn, *shape[2:], generator=generator).to(device, dtype)
        many = few if times == 1 else few.repeat(1, times, 1, 1)[:, : shape[1]]
        return many.transpose(1, 2)  # (1, heads, tokens, dim)

    q, k, v = (numbers() for _ in range(3))
    bias = None
    if like.key_bias is not None:
        bias = torch.rand(1, grid.tokens + text, generator=generator)
        bias = torch.zeros_like(bias).masked_fill(bias < _SHARE_HIDDEN, float("-inf"))
        if text and not like.key_bias[:, like.video].any():
            bias[:, : grid.tokens] = 0.0  # models mask the padding of their text
        bias = bias.to(device)
    return AttentionCall(
        q, k, v, grid, extents, 0, text, bias, dim**-0.5, like.tail, installed=like.installed
    )


def _remainders(grid: TokenGrid) -> Triple:
    """Tokens of the last tile of each axis."""
    t, h, w = (grid.tile_lengths(axis)[-1] for axis in range(3))
    return t, h, w


def _seconds(computes: Computes, call: AttentionCall) -> float:
    """Wall time of the fastest of a few runs after the first, which compiles and warms up."""
    computes.run(call)
    best = math.inf
    for _ in range(_REPEATS.get(call.q.device.type, _REPEATS_ELSEWHERE)):
        finish(call.q.device)
        start = time.perf_counter()
        computes.run(call)
        finish(call.q.device)
        best = min(best, time.perf_counter() - start)
    return best


def finish(device: torch.device) -> None:
    """Wait until this device, and not another one that happens to be current, has done its work."""
    if device.type in ("cuda", "xpu"):
        getattr(torch, device.type).synchronize(device)
    elif device.type != "cpu":
        getattr(torch, device.type).synchronize()
