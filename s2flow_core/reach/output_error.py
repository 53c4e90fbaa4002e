"""What a window costs in output, not in attention: the error its missing keys leave in a head's result.

Coverage is only a proxy. A head may lose much attention mass on keys whose values are all alike and change
nothing, or lose little on keys that matter. The same sampled rows can tell: they know P·V inside and outside
of every box, and what a tail would put in the place of the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..attention.sequence import VideoSequence
from ..windows.ladder import Knots, every_extent
from .box_errors import LEAST, PROJECTED, TINY, BoxErrors, KeysOfRows, errors_of_boxes
from .box_sums import KnownBoxes
from .choice import choose_tile_sums
from .measure import asked_pieces, mass_of_boxes
from .tail_sums import mean_keys
from .tile_sums import QueryRows, TileSums

_READ_COLUMNS = 16
"""Columns that a tensor core multiplies at once."""

_PROJECTION_SEED = 0
_EVERY, _FEWEST = 5, 16
"""Every fifth row is measured without a tail and every fifth with one, but at least about 16 each; the mass,
which is cheap, in all. At 256 rows, windows that are chosen so leave a few percent more error in a run than
with errors of all."""

_HELD = 2 * (PROJECTED + 1)
"""Numbers held per row and tile: the values' means; and of every fifth row those times the mass, twice, and
their sums over boxes."""


@dataclass(frozen=True)
class ReachAndError:
    """What windows hold and what they cost, float32 on the model's device.

    mass, error: (heads, kT, kH, kW), of every combination of extents. nothing: (heads,), the error of a head
    that sees no video at all. tail_error, tail_nothing: the same where skipped tiles enter as their mean.
    """

    mass: Tensor
    error: Tensor
    nothing: Tensor
    tail_error: Tensor
    tail_nothing: Tensor


@dataclass(frozen=True)
class HeadSums:
    """What the sampled rows of some heads say, before it is set against their layer's output.

    mass: (heads, kT, kH, kW). The errors as in `ReachAndError`, in no unit yet. energy: (heads,), the mean
    |full output|². Heads may be measured apart, and joined along the first axis.
    """

    mass: Tensor
    error: Tensor
    nothing: Tensor
    tail_error: Tensor
    tail_nothing: Tensor
    energy: Tensor

    def of_layer(self) -> ReachAndError:
        """In units of the output of these heads, which are all that their layer has."""
        unit = len(self.energy) / self.energy.sum().clamp_min(TINY)
        errors = (self.error, self.nothing, self.tail_error, self.tail_nothing)
        return ReachAndError(self.mass, *(error * unit for error in errors))


def measure_reach_and_error(
    q: Tensor, k: Tensor, v: Tensor, sequence: VideoSequence, rows: Tensor, knots: Knots | None = None
) -> ReachAndError:
    """`measure_reach` and, from the same logits, the squared output error of every window.

    Arguments and errors as in `measure_reach`; v: (B, heads, tokens, channels). The error is in units of the
    layer's output, and the text takes part in it, as it does in the windowed attention. The error of a head
    is mean |windowed output - full output|² over batch and rows, divided by the mean |full output|² of the
    layer's heads: so heads of one layer add up, and layers can be compared. It is measured with a tail too,
    where a window may leave out what is alike, because that enters as its mean. Each is measured in every
    fifth row, in more where those are few. The norms are estimated from 8 random Gaussian projections of the
    values, equal in every call (Johnson-Lindenstrauss).
    """
    return measure_head_sums(q, k, v, sequence, rows, knots).of_layer()


def measure_head_sums(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sequence: VideoSequence,
    rows: Tensor,
    knots: Knots | None = None,
    known: KnownBoxes | None = None,
) -> HeadSums:
    """`measure_reach_and_error` of some of a layer's heads; arguments and errors as there, and known: of
    earlier calls with these rows, grid and knots."""
    sequence.check(q, k, k)
    batch, heads = q.shape[:2]
    grid, video = sequence.grid, sequence.video
    knots = every_extent(grid.tiles) if knots is None else knots
    bias = sequence.bias(batch)
    factor = sequence.factor(q.shape[-1])
    rows = rows.to(q.device)
    projection = _projection(v.shape[-1], v.device, v.dtype).expand(heads, -1, -1)
    columns = projection.shape[-1]
    if v.device.type != "cpu":
        # As many as the kernel reads: padding every piece would be a copy of each.
        projection = F.pad(projection, (0, -columns % _READ_COLUMNS))
    # Per video (heads, all tokens, 8).
    projected = [torch.bmm(values, projection)[..., :columns] for values in v]
    means = [
        mean_keys(k[item], values, sequence, None if bias is None else bias[item])
        for item, values in enumerate(projected)
    ]
    mass = torch.zeros(heads, *map(len, knots), device=q.device)
    plain, tailed = BoxErrors.none(mass), BoxErrors.none(mass)
    sum_tiles, held = choose_tile_sums(q, grid)
    held = held.at_least(grid.tile_count * _HELD)
    for item, some_heads, some_rows, boxes in asked_pieces(q, rows, held, (grid, knots), known):
        queries = q[item, some_heads, video][:, rows[some_rows]]  # (heads, rows, dim)
        seen = QueryRows(
            queries,
            k[item, some_heads],
            projected[item][some_heads],
            None if bias is None else bias[item],
            factor,
        )
        taken = KeysOfRows(sum_tiles(seen.among(video), grid), _text_sums(seen, sequence))
        mass[some_heads] += mass_of_boxes(taken.video, boxes)
        without, with_tail = _rows_for_errors(some_rows, len(rows))
        tail = means[item].of_heads(some_heads).sums(queries[:, with_tail], factor)
        for errors, some, beside in ((plain, without, None), (tailed, with_tail, tail)):
            if range(queries.shape[1])[some]:  # a small piece may have none
                errors.add(some_heads, errors_of_boxes(taken.of_rows(some), boxes.of_rows(some), beside))
    counts = [batch * len(range(len(rows))[some]) for some in _rows_for_errors(slice(0, None), len(rows))]
    return HeadSums(
        mass=mass / (batch * len(rows)),
        error=plain.error / counts[0],
        nothing=plain.nothing / counts[0],
        tail_error=tailed.error / counts[1],
        tail_nothing=tailed.nothing / counts[1],
        energy=(plain.energy + tailed.energy) / sum(counts),
    )


def _rows_for_errors(piece: slice, rows: int) -> tuple[slice, slice]:
    """Which rows of a piece of so many rows are measured without a tail, and which with one."""
    every = max(1, min(_EVERY, rows // _FEWEST))
    without, with_tail = ((kind - piece.start) % every for kind in (0, 1))
    return slice(without, None, every), slice(with_tail, None, every)


def _text_sums(seen: QueryRows, sequence: VideoSequence) -> TileSums | None:
    """What the rows take from the text before and after the video, as if it were one tile."""
    runs = (slice(0, sequence.prefix), slice(sequence.video.stop, sequence.tokens))
    if not sequence.prefix + sequence.suffix:
        return None
    k, values = (torch.cat([x[:, run] for run in runs], dim=1).float() for x in (seen.k, seen.values))
    logits = (seen.q.float() * seen.scale) @ k.transpose(1, 2)  # (heads, rows, text)
    if seen.bias is not None:
        logits += torch.cat([seen.bias[run] for run in runs])
    lse = logits.logsumexp(dim=-1, keepdim=True)  # (heads, rows, 1)
    means = (logits - lse.clamp_min(LEAST)).exp() @ values  # (heads, rows, 8)
    return TileSums(lse, means[:, :, None])


@lru_cache(maxsize=16)
def _projection(dim: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(dim, 8) random matrix that keeps squared norms in the mean; kept on the device."""
    generator = torch.Generator().manual_seed(_PROJECTION_SEED)
    return (torch.randn(dim, PROJECTED, generator=generator) / PROJECTED**0.5).to(device, dtype)
