"""Temporal windows that shift from layer to layer, full in space (Bowtie-flow, section 3.3, Eq. 3).

Even layers cut the video into windows of W latent frames; odd layers cut it W/2 frames later, so that two
layers connect neighbours and a few connect everything. The paper rolls the video, pads it to whole windows
and masks what the roll brought together. Cutting shorter windows at both ends gives the same numbers without
a roll, padding or a mask, and for any number of frames (tests/core/attention/test_temporal_windows.py).

Positions that start anew in every window need nothing here: rotary embeddings make attention depend on
differences of positions only, and those are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from torch import Tensor

from ..windows.grid import TokenGrid, Triple
from .backends.dense import run as attend_everywhere
from .backends.torch_boxes import attend_in_boxes
from .boxes import AxisGroups, Boxes, Runs
from .call import AttentionCall, VisitedKeys, head_runs
from .sequence import VideoSequence
from .sharing.head_sharing import HeadSharing


@dataclass(frozen=True)
class TemporalWindow:
    """Windows of `frames` latent frames, cut frames//2 later where `shifted`."""

    frames: int
    shifted: bool = False

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise ValueError(
                f"A temporal window of {self.frames} latent frame(s) would never connect two frames. Use at "
                "least 2, or 0 in the node for attention without windows."
            )

    def spans(self, length: int) -> list[tuple[int, int]]:
        """(first, end) of every window over `length` frames; the windows at the ends may be shorter."""
        offset = self.frames // 2 if self.shifted else 0
        cuts = sorted({0, length, *range(offset, length, self.frames)})
        return list(pairwise(cuts))


def window_of_layer(layer: int, frames: int) -> TemporalWindow:
    """Layers take turns: 0, 2, 4... as they are, 1, 3, 5... shifted."""
    return TemporalWindow(frames, shifted=layer % 2 == 1)


def temporal_density(length: int, window: TemporalWindow) -> float:
    """Mean share of the frames that a query sees, 0...1."""
    return sum((end - first) ** 2 for first, end in window.spans(length)) / length**2


def shifted_window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sequence: VideoSequence,
    window: TemporalWindow,
    stats: VisitedKeys | None = None,
    sharing: HeadSharing | None = None,
) -> Tensor:
    """Self-attention in which every frame sees the frames of its window.

    q, k, v: (B, heads, tokens, dim), the tokens of `sequence`, whose tiles do not matter here. Tokens before
    and after the video are seen by every query and see everything. Windows that hold the whole video give
    plain attention, bit for bit. sharing: the devices that share the heads. Returns (B, heads, tokens, dim).

    These windows do not slide with the query, so they are boxes of their own for the torch backend instead
    of an extent at the door `window_attention`. Raises WindowsNotApplicable if the call is of another layout.
    """
    sequence.check(q, k, v)
    shape, heads = sequence.grid.shape, q.shape[1]
    grid = TokenGrid(shape, (1, 1, 1))
    call = AttentionCall(
        q=q,
        k=k,
        v=v,
        grid=grid,
        extents=(grid.tiles,) * heads,
        prefix=sequence.prefix,
        suffix=sequence.suffix,
        key_bias=sequence.bias(q.shape[0]),
        masks=sequence.masks,
        scale=sequence.factor(q.shape[3]),
        tail=False,
        stats=stats,
    )
    if window.frames >= shape[0]:
        return attend_everywhere(call)
    if sharing is None:
        return _in_windows(call, window)
    # Every head has the same windows.
    return sharing.attend(call, (1.0,) * heads, lambda part, _: _in_windows(part, window), "temporal windows")


def _in_windows(call: AttentionCall, window: TemporalWindow) -> Tensor:
    """(B, heads, tokens, dim) of the heads that the call asks for."""
    boxes = temporal_boxes(call.grid.shape, window)
    return attend_in_boxes(call, ((some, heads) for some in boxes for heads in head_runs(call.heads)))


@lru_cache(maxsize=256)
def temporal_boxes(shape: Triple, window: TemporalWindow) -> tuple[Boxes, ...]:
    """The windows as boxes; neighbours of one length are one group, computed in one call."""
    length, height, width = shape
    rows, columns = (_whole_axis(side) for side in (height, width))
    groups: list[tuple[int, int, int]] = []  # (first frame, frames, count)
    for first, end in window.spans(length):
        if groups and groups[-1][1] == end - first:
            start, frames, count = groups[-1]
            groups[-1] = (start, frames, count + 1)
        else:
            groups.append((first, end - first, 1))
    frames_axis = (Runs(count, start, frames, frames) for start, frames, count in groups)
    return tuple((AxisGroups(runs, runs), rows, columns) for runs in frames_axis)


def _whole_axis(length: int) -> AxisGroups:
    run = Runs(1, 0, 0, length)
    return AxisGroups(run, run)
