"""The one door to windowed attention: checks the call, hands it to a backend, says why it cannot."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..windows.extents import axis_pairs, extent_triples
from ..windows.grid import TokenGrid, Triple
from .call import AttentionCall, InstalledAttention, VisitedKeys
from .choice import BackendChooser
from .errors import WindowsNotApplicable
from .less_memory import compute_within_memory
from .measured_rates import MeasuredRates
from .sequence import VideoSequence

_THIS_PROCESS = MeasuredRates()
"""What was measured for callers that keep nothing themselves."""


@dataclass(frozen=True)
class HeadWindows:
    """One window per head. extents: (heads, 3) integers on the CPU, sizes in tiles of the grid. tail: every
    tile outside the window enters the softmax once, as its mean key and value weighted by its token count."""

    extents: Tensor
    tail: bool = False

    def per_head(self, heads: int, grid: TokenGrid) -> tuple[Triple, ...]:
        """The extents as numbers; raises WindowsNotApplicable unless they fit the heads and the grid."""
        if tuple(self.extents.shape) != (heads, 3):
            raise WindowsNotApplicable(
                f"the windows are for {len(self.extents)} heads, and the model has {heads}"
            )
        windows = extent_triples(self.extents)
        if any(not _fits(window, grid.tiles) for window in set(windows)):
            raise WindowsNotApplicable(f"a window is larger than the grid of {grid.tiles} tiles, or empty")
        return windows


def window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sequence: VideoSequence,
    windows: HeadWindows,
    *,
    backend: str | BackendChooser = "auto",
    stats: VisitedKeys | None = None,
    installed: InstalledAttention | None = None,
) -> Tensor:
    """Self-attention in which every head sees its own 3D window of the video (S²Flow Eq. 7, as -inf masking).

    q, k, v: (B, heads, tokens, dim), any strides, the tokens of `sequence`. backend: "auto" (the fastest;
    `dense` where windows cannot win), "dense" (no windows: every query sees everything), "torch_boxes",
    "installed_boxes", "triton_windows" or "triton_windows_int8"; or what chooses for a whole run. stats:
    counter of the keys really visited. installed: the attention that `auto` must beat, instead of `dense`.
    Returns (B, heads, tokens, dim) in q's dtype.

    Raises WindowsNotApplicable if the call's layout or mask cannot be windowed; WindowsCannotWin, which is
    one of those, if `auto` leaves the call to the installed attention; BackendRefused if a backend asked for
    by name cannot run.
    """
    sequence.check(q, k, v)
    call = AttentionCall(
        q=q,
        k=k,
        v=v,
        grid=sequence.grid,
        extents=windows.per_head(q.shape[1], sequence.grid),
        prefix=sequence.prefix,
        suffix=sequence.suffix,
        key_bias=sequence.bias(q.shape[0]),
        masks=sequence.masks,
        scale=sequence.factor(q.shape[3]),
        tail=windows.tail,
        stats=stats,
        installed=installed,
    )
    chooser = backend if isinstance(backend, BackendChooser) else BackendChooser(backend, _THIS_PROCESS)
    return compute_within_memory(call, chooser)


def count_visited_keys(grid: TokenGrid, extents: Tensor) -> Tensor:
    """(query, key) token pairs that each window keeps, out of grid.tokens²: (..., 3) -> (...) int64.

    extents: in tiles of `grid`, each within 1...grid.tiles; partial tiles count as what they are.
    """
    counts = torch.ones(extents.shape[:-1], dtype=torch.int64)
    for axis in range(3):
        counts = counts * axis_pairs(grid, axis)[extents[..., axis].long() - 1]
    return counts


def attention_density(grid: TokenGrid, extents: Tensor) -> float:
    """Mean share of the video's keys that a query sees under these windows, 0...1.

    extents: (..., 3) integers in tiles of `grid`, each within 1...grid.tiles; the mean is over all windows.
    """
    return count_visited_keys(grid, extents).double().mean().item() / grid.tokens**2


def _fits(window: Triple, tiles: Triple) -> bool:
    return all(1 <= side <= count for side, count in zip(window, tiles, strict=True))
