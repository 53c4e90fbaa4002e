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
from .box_sums import BoxesOfRows, KnownBoxes
from .choice import choose_tile_sums
from .measure import asked_pieces, mass_of_boxes
from .tail_sums import mean_keys
from .tile_sums import QueryRows, TileSums

_PROJECTED = 8
"""Random projections of the values: enough to estimate norms, few enough to keep them for every box."""

_READ_COLUMNS = 16
"""Columns that a tensor core multiplies at once."""

_PROJECTION_SEED = 0
_EVERY = 3
"""Every third row is measured without a tail and every third with one; the mass, which is cheap, in all.
Windows that are chosen from 64 rows leave the same error in a run as those from 256."""

_HELD = 2 * (_PROJECTED + 1)
"""Numbers held per row and tile: the values' means; and of every third row those times the mass, twice, and
their sums over boxes."""

_TINY = 1e-30
"""Keeps a division by no mass or no output finite."""

_LEAST = -1e30
"""For -inf, the logarithm of hidden text: -inf minus -inf is no number."""


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
        unit = len(self.energy) / self.energy.sum().clamp_min(_TINY)
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
    third row. The norms are estimated from 8 random Gaussian projections of the values, equal in every call
    (Johnson-Lindenstrauss).
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
    plain, tailed = _Errors.none(mass), _Errors.none(mass)
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
        sums, text = sum_tiles(seen.among(video), grid), _text_sums(seen, sequence)
        mass[some_heads] += mass_of_boxes(sums, boxes)
        without, with_tail = _rows_for_errors(some_rows, len(rows))
        tail = means[item].of_heads(some_heads).sums(queries[:, with_tail], factor)
        plain.add(some_heads, _errors(_Seen(sums, text).of_rows(without), boxes.of_rows(without)))
        tailed.add(some_heads, _errors(_Seen(sums, text).of_rows(with_tail), boxes.of_rows(with_tail), tail))
    counts = [batch * len(range(len(rows))[some]) for some in _rows_for_errors(slice(0, None), len(rows))]
    return HeadSums(
        mass=mass / (batch * len(rows)),
        error=plain.error / counts[0],
        nothing=plain.nothing / counts[0],
        tail_error=tailed.error / counts[1],
        tail_nothing=tailed.nothing / counts[1],
        energy=(plain.energy + tailed.energy) / sum(counts),
    )


@dataclass(frozen=True)
class _Errors:
    """Of some rows, summed over them. error: (heads, kT, kH, kW); nothing, energy: (heads,)."""

    error: Tensor
    nothing: Tensor
    energy: Tensor

    @classmethod
    def none(cls, like: Tensor) -> _Errors:
        """Of no rows yet. like: a table (heads, kT, kH, kW)."""
        return cls(torch.zeros_like(like), *like.new_zeros(2, len(like)))

    def add(self, heads: slice, more: _Errors) -> None:
        """Counts further rows of some heads."""
        for name, sums in vars(more).items():
            getattr(self, name)[heads] += sums


@dataclass(frozen=True)
class _Seen:
    """What some rows take from the video's tiles, and from the text as if it were one tile."""

    video: TileSums
    text: TileSums | None

    def of_rows(self, rows: slice) -> _Seen:
        """The same of some of the rows."""
        return _Seen(self.video.of_rows(rows), None if self.text is None else self.text.of_rows(rows))

    def weight(self) -> Tensor:
        """(heads, rows, 1): log of what all keys weigh."""
        lse = self.video.lse if self.text is None else torch.cat([self.video.lse, self.text.lse], dim=-1)
        return lse.logsumexp(dim=-1, keepdim=True).clamp_min(_LEAST)


def _rows_for_errors(piece: slice, rows: int) -> tuple[slice, slice]:
    """Which rows of a piece of so many rows are measured without a tail, and which with one."""
    if rows < _EVERY:
        return slice(None), slice(None)
    without, with_tail = ((kind - piece.start) % _EVERY for kind in (0, 1))
    return slice(without, None, _EVERY), slice(with_tail, None, _EVERY)


def _errors(seen: _Seen, around: BoxesOfRows, tail: TileSums | None = None) -> _Errors:
    """Errors of all boxes; with a tail, what a box leaves out comes in as means."""
    weight, frames = seen.weight(), around.frames.shape[2]
    taken = _taken(seen.video, weight, frames)  # (rows, nT, heads, 9, nH*nW)
    always = taken.new_zeros(*taken.shape[::2][:2], _PROJECTED + 1)  # (rows, heads, 9), beside every box
    if tail is not None:
        means = _taken(tail, weight, frames)
        always += means.sum(dim=(1, 4))
        taken -= means
    if seen.text is not None:
        beside = (seen.text.lse - weight).exp().transpose(0, 1)  # (rows, heads, 1)
        always += torch.cat([seen.text.means[:, :, 0].transpose(0, 1) * beside, beside], dim=-1)
    # In place from here on, because there are more boxes than anything else.
    boxes = around.sums(taken)  # (rows, kT, heads, 9, kH, kW)
    boxes += always[:, None, :, :, None, None]
    windowed = _outputs(boxes, 3)
    full = windowed[:, -1, :, :, -1, -1].clone()  # (rows, heads, 8); the largest window is the whole video
    whole = full[:, None, :, :, None, None].expand_as(windowed)
    error = F.mse_loss(windowed, whole, reduction="none").sum(dim=0).sum(dim=2)  # (kT, heads, kH, kW)
    return _Errors(
        error=error.transpose(0, 1),
        nothing=(_outputs(always, 2) - full).square().sum(dim=(0, 2)),
        energy=full.square().sum(dim=(0, 2)),
    )


def _outputs(sums: Tensor, channels: int) -> Tensor:
    """The values' sums over the mass, which stands behind them along the axis `channels`; in their memory."""
    mass = sums.narrow(channels, _PROJECTED, 1).clamp_min(_TINY)
    return sums.narrow(channels, 0, _PROJECTED).div_(mass)


def _taken(video: TileSums, weight: Tensor, frames: int) -> Tensor:
    """(rows, frames = nT, heads, 9, nH*nW): of every tile the values times its mass, then the mass.

    weight: (heads, rows, 1), log of what all keys weigh.
    """
    share = (video.lse - weight).exp().transpose(1, 2)  # (heads, tiles, rows)
    heads, tiles, asked = share.shape
    places = (frames, heads, _PROJECTED + 1, tiles // frames)
    if share.stride(2) == 1:
        # Rows last, as torch's sums come, and one transposition at the end: a CPU is slow across the grain.
        taken = share.new_empty(*places, asked)
    else:
        taken = share.new_empty(asked, *places).movedim(0, -1)
    # (nT, heads, 1, nH*nW, rows)
    mass = torch.unflatten(share, 1, (frames, 1, -1)).transpose(0, 1)
    taken[:, :, _PROJECTED:] = mass
    means = torch.unflatten(video.means, 2, (frames, -1)).permute(2, 0, 4, 3, 1)
    torch.mul(means, mass, out=taken[:, :, :_PROJECTED])
    return taken.flatten(0, 3).T.contiguous().view(asked, *places)


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
    means = (logits - lse.clamp_min(_LEAST)).exp() @ values  # (heads, rows, 8)
    return TileSums(lse, means[:, :, None])


@lru_cache(maxsize=16)
def _projection(dim: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(dim, 8) random matrix that keeps squared norms in the mean; kept on the device."""
    generator = torch.Generator().manual_seed(_PROJECTION_SEED)
    return (torch.randn(dim, _PROJECTED, generator=generator) / _PROJECTED**0.5).to(device, dtype)
