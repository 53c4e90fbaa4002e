"""What a window costs in output, not in attention: the error its missing keys leave in a head's result.

Coverage is only a proxy. A head may lose much attention mass on keys whose values are all alike and change
nothing, or lose little on keys that matter. The same sampled rows can tell: they know P·V inside and outside
of every box.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..attention.sequence import VideoSequence
from ..windows.grid import TokenGrid
from ..windows.ladder import Knots, every_extent
from .choice import choose_tile_sums
from .measure import pieces, sum_in_boxes
from .tile_sums import QueryRows, TileSums

_PROJECTED = 8
"""Random projections of the values: enough to estimate norms, few enough to keep them for every box."""

_PROJECTION_SEED = 0
_HELD = 2 * (_PROJECTED + 1)
"""Numbers held per row and tile: the projected values and the mass, and their sums over boxes."""

_TINY = 1e-30
"""Keeps a division by no mass or no output finite."""

_LEAST = -1e30
"""For -inf, the logarithm of no text: -inf minus -inf is no number."""


@dataclass(frozen=True)
class ReachAndError:
    """What windows hold and what they cost, float32 on the model's device.

    mass, error: (heads, kT, kH, kW), of every combination of extents. nothing: (heads,), the error of a head
    that sees no video at all.
    """

    mass: Tensor
    error: Tensor
    nothing: Tensor


def measure_reach_and_error(
    q: Tensor, k: Tensor, v: Tensor, sequence: VideoSequence, rows: Tensor, knots: Knots | None = None
) -> ReachAndError:
    """`measure_reach` and, from the same logits, the squared output error of every window.

    Arguments and errors as in `measure_reach`; v: (B, heads, tokens, channels). The error is in units of the
    layer's output, and the text takes part in it, as it does in the windowed attention. The error of a head
    is mean ‖windowed output - full output‖² over batch and rows, divided by the mean ‖full output‖² of the
    layer's heads: so heads of one layer add up, and layers can be compared. The norms are estimated from 8
    random Gaussian projections of the values, equal in every call (Johnson-Lindenstrauss).
    """
    sequence.check(q, k, k)
    batch, heads = q.shape[:2]
    grid, video = sequence.grid, sequence.video
    knots = every_extent(grid.tiles) if knots is None else knots
    bias = sequence.bias(batch)
    factor = sequence.factor(q.shape[-1])
    rows = rows.to(q.device)
    projected = _projected(v, _projection(v.shape[-1]).to(q.device))  # (B, heads, all tokens, 8)
    mass, error = torch.zeros(2, heads, *map(len, knots), device=q.device)
    nothing = torch.zeros(heads, device=q.device)
    energy = torch.zeros((), device=q.device)
    sum_tiles, held = choose_tile_sums(q, grid)
    for item, some_heads, some_rows in pieces(q, len(rows), max(held, grid.tile_count * _HELD)):
        asked = rows[some_rows]
        queries = q[item, some_heads, video][:, asked]  # (heads, rows, dim)
        seen = QueryRows(
            queries,
            k[item, some_heads],
            projected[item, some_heads],
            None if bias is None else bias[item],
            factor,
        )
        parts = [sum_tiles(seen.among(video), grid), _text_sums(seen, sequence.prefix, video.stop)]
        found = _of_boxes(_taken(parts), grid, asked, knots)
        mass[some_heads] += found.mass
        error[some_heads] += found.error
        nothing[some_heads] += found.nothing
        energy += found.energy
    unit = heads / energy.clamp_min(_TINY)
    return ReachAndError(mass / (batch * len(rows)), error * unit, nothing * unit)


@dataclass(frozen=True)
class _Sums:
    """Sums over rows: `ReachAndError` before it is divided by the layer's `energy`, Σ‖full output‖²."""

    mass: Tensor
    error: Tensor
    nothing: Tensor
    energy: Tensor


def _of_boxes(taken: Tensor, grid: TokenGrid, rows: Tensor, knots: Knots) -> _Sums:
    """taken: (heads, rows, tiles + 1, 9), the text last."""
    boxes = sum_in_boxes(taken[:, :, :-1], grid, rows, knots)  # (heads, rows, kT, kH, kW, 9)
    text = taken[:, :, -1]
    windowed = _output(boxes + text[:, :, None, None, None])
    full = windowed[:, :, -1, -1, -1]  # the largest window is the whole video
    held = boxes[..., _PROJECTED]
    return _Sums(
        mass=(held / held[..., -1:, -1:, -1:].clamp_min(_TINY)).sum(dim=1),
        error=(windowed - full[:, :, None, None, None]).square().sum(-1).sum(dim=1),
        nothing=(_output(text) - full).square().sum(-1).sum(dim=1),
        energy=full.square().sum(),
    )


def _output(taken: Tensor) -> Tensor:
    """(..., 9) values times mass, then the mass -> (..., 8) what a softmax over just these keys gives."""
    return taken[..., :_PROJECTED] / taken[..., _PROJECTED:].clamp_min(_TINY)


def _text_sums(seen: QueryRows, prefix: int, suffix_start: int) -> TileSums:
    """What the rows take from the text before and after the video, as if it were one tile."""
    places = [*range(prefix), *range(suffix_start, seen.k.shape[1])]
    logits = (seen.q.float() * seen.scale) @ seen.k[:, places].float().transpose(1, 2)  # (heads, rows, text)
    if seen.bias is not None:
        logits += seen.bias[places]
    lse = logits.logsumexp(dim=-1, keepdim=True)  # (heads, rows, 1); -inf without text
    means = (logits - lse.clamp_min(_LEAST)).exp() @ seen.values[:, places]  # (heads, rows, 8)
    return TileSums(lse, means[:, :, None])


def _taken(parts: list[TileSums]) -> Tensor:
    """One softmax over several parts: (heads, rows, tiles of all, 9), values times mass, then the mass."""
    mass = torch.cat([part.lse for part in parts], dim=-1).softmax(dim=-1)[..., None]
    means = torch.cat([part.means for part in parts], dim=2)
    return torch.cat([mass * means, mass], dim=-1)


def _projected(v: Tensor, projection: Tensor) -> Tensor:
    """(B, heads, tokens, dim) -> (B, heads, tokens, 8) float32, head by head: all at once would copy v."""
    out = v.new_empty(*v.shape[:3], _PROJECTED, dtype=torch.float32)
    for item, heads in enumerate(v):
        for head, values in enumerate(heads):
            torch.matmul(values.float(), projection, out=out[item, head])
    return out


def _projection(dim: int) -> Tensor:
    """(dim, 8) float32 random matrix that keeps squared norms in the mean."""
    generator = torch.Generator().manual_seed(_PROJECTION_SEED)
    return torch.randn(dim, _PROJECTED, generator=generator) / _PROJECTED**0.5
