"""What every box around a query costs in output, with a tail or without, from what it takes from tiles."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .box_sums import BoxesOfRows
from .tile_sums import TileSums

PROJECTED = 8
"""Random projections of the values: enough to estimate norms, few enough to keep them for every box."""

TINY = 1e-30
"""Keeps a division by no mass or no output finite."""

LEAST = -1e30
"""For -inf, the logarithm of hidden text: -inf minus -inf is no number."""


@dataclass(frozen=True)
class BoxErrors:
    """Of some rows, summed over them. error: (heads, kT, kH, kW); nothing, energy: (heads,)."""

    error: Tensor
    nothing: Tensor
    energy: Tensor

    @classmethod
    def none(cls, like: Tensor) -> BoxErrors:
        """Of no rows yet. like: a table (heads, kT, kH, kW)."""
        return cls(torch.zeros_like(like), *like.new_zeros(2, len(like)))

    def add(self, heads: slice, more: BoxErrors) -> None:
        """Counts further rows of some heads."""
        for name, sums in vars(more).items():
            getattr(self, name)[heads] += sums


@dataclass(frozen=True)
class KeysOfRows:
    """What some rows take from the video's tiles, and from the text as if it were one tile."""

    video: TileSums
    text: TileSums | None

    def of_rows(self, rows: slice) -> KeysOfRows:
        """The same of some of the rows."""
        return KeysOfRows(self.video.of_rows(rows), None if self.text is None else self.text.of_rows(rows))

    def weight(self) -> Tensor:
        """(heads, rows, 1): log of what all keys weigh."""
        lse = self.video.lse if self.text is None else torch.cat([self.video.lse, self.text.lse], dim=-1)
        return lse.logsumexp(dim=-1, keepdim=True).clamp_min(LEAST)


def errors_of_boxes(seen: KeysOfRows, around: BoxesOfRows, tail: TileSums | None = None) -> BoxErrors:
    """Errors of all boxes; with a tail, what a box leaves out comes in as means."""
    weight = seen.weight()
    always = _always(seen.text, tail, weight)
    boxes = around.sums(_taken((seen.video, tail), weight, around.frames.shape[2]))
    # (rows, kT, heads, 9, kH, kW), in place from here on, because there are more boxes than anything else.
    if always is not None:
        boxes += always[:, None, :, :, None, None]
    windowed = _outputs(boxes, 3)
    full = windowed[:, -1, :, :, -1, -1].clone()  # (rows, heads, 8); the largest window is the whole video
    whole = full[:, None, :, :, None, None].expand_as(windowed)
    error = F.mse_loss(windowed, whole, reduction="none").sum(dim=0).sum(dim=2)  # (kT, heads, kH, kW)
    alone = torch.zeros_like(full) if always is None else _outputs(always, 2)
    return BoxErrors(
        error=error.transpose(0, 1),
        nothing=(alone - full).square().sum(dim=(0, 2)),
        energy=full.square().sum(dim=(0, 2)),
    )


def _always(text: TileSums | None, tail: TileSums | None, weight: Tensor) -> Tensor | None:
    """(rows, heads, 9): what every box sees beside its tiles, text and the means of all tiles; or None."""
    parts = [part for part in (text, tail) if part is not None]
    if not parts:
        return None
    share = (torch.cat([part.lse for part in parts], dim=-1) - weight).exp()  # (heads, rows, tiles)
    # The text differs from row to row, and the means do not.
    taken = torch.zeros(*share.shape[:2], PROJECTED, device=share.device)
    first = 0
    for part in parts:
        some = share[..., first : first + part.lse.shape[-1]]
        taken += (some[:, :, None] @ part.means)[:, :, 0] if part is text else some @ part.means[:, 0]
        first += part.lse.shape[-1]
    return torch.cat([taken, share.sum(dim=-1, keepdim=True)], dim=-1).transpose(0, 1)


def _outputs(sums: Tensor, channels: int) -> Tensor:
    """The values' sums over the mass, which stands behind them along the axis `channels`; in their memory."""
    mass = sums.narrow(channels, PROJECTED, 1).clamp_min(TINY)
    return sums.narrow(channels, 0, PROJECTED).div_(mass)


def _taken(video: tuple[TileSums, TileSums | None], weight: Tensor, frames: int) -> Tensor:
    """(rows, frames = nT, heads, 9, nH*nW): of every tile the values times its mass, then the mass.

    video: what rows take from tiles, and of what a box has no use for where it holds them, or None. weight:
    (heads, rows, 1), log of what all keys weigh.
    """
    exact, tail = video
    heads, asked, tiles = exact.lse.shape
    places = (frames, heads, PROJECTED + 1, tiles // frames)
    if weight.device.type == "cpu":
        # Rows last, as torch's sums come, and one transposition at the end: a CPU is slow across the grain.
        taken = weight.new_empty(*places, asked)
    else:
        taken = weight.new_empty(asked, *places).movedim(0, -1)
    values, mass = taken.narrow(2, 0, PROJECTED), taken.narrow(2, PROJECTED, 1)
    share, means = _by_place(exact, weight, frames)
    torch.mul(means, share, out=values)
    mass.copy_(share)
    if tail is not None:
        share, means = _by_place(tail, weight, frames)
        values.addcmul_(means, share, value=-1)
        mass.sub_(share)
    return taken.flatten(0, 3).T.contiguous().view(asked, *places)


def _by_place(sums: TileSums, weight: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Shares of all keys (nT, heads, 1, nH*nW, rows), and means (nT, heads, 8, nH*nW, rows)."""
    share = torch.unflatten((sums.lse - weight).exp(), 2, (frames, 1, -1))  # (heads, rows, nT, 1, nH*nW)
    means = torch.unflatten(sums.means, 2, (frames, -1))  # (heads, rows, nT, nH*nW, 8)
    return share.permute(2, 0, 3, 4, 1), means.permute(2, 0, 4, 3, 1)
