"""The one door to windowed attention: checks the call, hands it to a backend, says why it cannot."""

from __future__ import annotations

import torch
from torch import Tensor

from ..windows.extents import axis_pairs
from ..windows.grid import TokenGrid, Triple
from .call import AttentionCall, InstalledAttention, VisitedKeys
from .choice import choose_backend
from .errors import BackendRefused, WindowsCannotWin, WindowsNotApplicable
from .key_mask import key_bias
from .registry import BACKENDS


def window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    grid: TokenGrid,
    extents: Tensor,
    *,
    prefix: int = 0,
    suffix: int = 0,
    key_mask: Tensor | None = None,
    backend: str = "auto",
    tail: bool = False,
    scale: float | None = None,
    stats: VisitedKeys | None = None,
    installed: InstalledAttention | None = None,
) -> Tensor:
    """Self-attention in which every head sees its own 3D window of the video (S²Flow Eq. 7, as -inf masking).

    q, k, v: (B, heads, tokens, dim), any strides; tokens = prefix + grid.tokens + suffix, the video in
    raster order. extents: (heads, 3) integers on the CPU, window sizes in tiles of `grid`. Tokens before
    and after the video are seen by every query and see everything. key_mask: see `key_mask.key_bias`. tail:
    every tile outside the window enters the softmax once, as its mean key and value weighted by its token
    count. scale: factor on q.k, by default 1/sqrt(dim). stats: counter of the keys really visited.

    backend: "auto" (the fastest; `dense` where windows cannot win), "dense" (no windows: every query sees
    everything), "torch_boxes" or "triton_windows". installed: the attention that `auto` must beat, instead
    of `dense`. Returns (B, heads, tokens, dim) in q's dtype.

    Raises WindowsNotApplicable if the call's layout or mask cannot be windowed; WindowsCannotWin, which is
    one of those, if `auto` leaves the call to the installed attention; BackendRefused if a backend asked for
    by name cannot run.
    """
    call = AttentionCall(
        q=q,
        k=k,
        v=v,
        grid=grid,
        extents=_checked_windows(q, k, v, grid, extents, prefix, suffix),
        prefix=prefix,
        suffix=suffix,
        key_bias=key_bias(key_mask, q.shape[0], q.shape[2]),
        scale=q.shape[3] ** -0.5 if scale is None else scale,
        tail=tail,
        stats=stats,
        installed=installed,
    )
    if backend == "auto":
        choice = choose_backend(call)
        if choice.backend == "dense" and installed is not None:
            raise WindowsCannotWin(choice.reason)
        return BACKENDS[choice.backend].run(call)
    if backend not in BACKENDS:
        raise BackendRefused(
            f"There is no attention backend '{backend}'; choose auto, {', '.join(BACKENDS)}."
        )
    refusal = BACKENDS[backend].refusal(call)
    if refusal:
        raise BackendRefused(
            f"The attention backend '{backend}' cannot be used: {refusal} Choose auto instead."
        )
    return BACKENDS[backend].run(call)


def count_visited_keys(grid: TokenGrid, extents: Tensor) -> Tensor:
    """(query, key) token pairs that each window keeps, out of grid.tokens²: (..., 3) -> (...) int64."""
    counts = torch.ones(extents.shape[:-1], dtype=torch.int64)
    for axis in range(3):
        counts = counts * axis_pairs(grid, axis)[extents[..., axis].long() - 1]
    return counts


def attention_density(grid: TokenGrid, extents: Tensor) -> float:
    """Mean share of the video's keys that a query sees under these windows, 0...1."""
    return count_visited_keys(grid, extents).double().mean().item() / grid.tokens**2


def _checked_windows(
    q: Tensor, k: Tensor, v: Tensor, grid: TokenGrid, extents: Tensor, prefix: int, suffix: int
) -> tuple[Triple, ...]:
    """One extent per head, if they and the grid fit the tensors; raises WindowsNotApplicable otherwise."""
    check_video_attention(q, k, v, grid, prefix, suffix)
    heads = q.shape[1]
    if tuple(extents.shape) != (heads, 3):
        raise WindowsNotApplicable(f"the windows are for {len(extents)} heads, and the model has {heads}")
    windows: tuple[Triple, ...] = tuple((t, h, w) for t, h, w in extents.tolist())
    if any(not _fits(window, grid.tiles) for window in set(windows)):
        raise WindowsNotApplicable(f"a window is larger than the grid of {grid.tiles} tiles, or empty")
    return windows


def check_video_attention(q: Tensor, k: Tensor, v: Tensor, grid: TokenGrid, prefix: int, suffix: int) -> None:
    """Raises WindowsNotApplicable unless this is self-attention over the grid's video and its text."""
    if q.ndim != 4 or q.shape != k.shape or q.shape != v.shape:
        raise WindowsNotApplicable(
            "windows need self-attention, but q, k and v have the shapes "
            f"{tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}"
        )
    tokens = q.shape[2]
    if min(prefix, suffix) < 0 or prefix + grid.tokens + suffix != tokens:
        raise WindowsNotApplicable(
            f"the model attends to {tokens} tokens, but the windows are for {prefix} + "
            f"{'x'.join(map(str, grid.shape))} + {suffix}"
        )


def _fits(window: Triple, tiles: Triple) -> bool:
    return all(1 <= side <= count for side, count in zip(window, tiles, strict=True))
