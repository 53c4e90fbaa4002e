"""The record of a run's attention: reach, and output error, of every window at every step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from ..windows.extents import axis_shares
from ..windows.grid import TokenGrid, Triple


@dataclass(frozen=True)
class AttentionReach:
    """What every head of every recorded step looks at, as a function of window size; CPU tensors.

    mass: (steps, layers, heads, nT, nH, nW) half precision; entry [..., a-1, b-1, c-1] is the mean
    attention mass, 0...1, inside the window of extent (a, b, c) in tiles of `tile` on a video of `shape`
    tokens. error: the same shape, or None; the output error of that window as
    `measure_reach_and_error` defines it.
    """

    mass: Tensor
    shape: Triple
    tile: Triple
    error: Tensor | None = None

    def __post_init__(self) -> None:
        for name, values in (("mass", self.mass), ("error", self.error)):
            if values is not None and (values.ndim != 6 or tuple(values.shape[3:]) != self.grid.tiles):
                raise ValueError(
                    f"The attention record's {name} has shape {tuple(values.shape)}; a video of {self.shape} "
                    f"tokens in tiles of {self.tile} needs (steps, layers, heads, {self.grid.tiles})."
                )

    @property
    def grid(self) -> TokenGrid:
        """The tokens of the recorded video and the tiles that its windows are counted in."""
        return TokenGrid(self.shape, self.tile)

    @property
    def steps(self) -> int:
        """How many steps of the run were recorded."""
        return self.mass.shape[0]

    def coverage(self, fractions: Tensor, step: int | None = None) -> Tensor:
        """Attention mass inside any windows, trilinear between the recorded ones.

        fractions: (J, 3), size of each window as a share of the grid per axis, 0...1; so the same window
        can be asked for on a grid of any resolution. Returns (steps, layers, heads, J) float32, or (layers,
        heads, J) of one step: nothing covers nothing, the whole grid covers 1.
        """
        knots = axis_shares(self.grid)
        t, h, w = (_interpolation(knots[axis], fractions[:, axis], 0.0) for axis in range(3))
        weights = torch.einsum("jt,jh,jw->jthw", t, h, w).flatten(1)  # (J, nT*nH*nW)
        mass = self.mass if step is None else self.mass[step]
        return (mass.float().flatten(-3) @ weights.T).clamp_(0.0, 1.0)

    def coverage_table(self, step: int, shares: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """`coverage` of all combinations of three lists of shares: (layers, heads, len T, len H, len W).

        shares: per axis a list in 0...1.
        """
        return self._table(self.mass[step], shares, below_first=0.0).clamp_(0.0, 1.0)

    def error_table(self, step: int, shares: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Output error of the windows of `coverage_table`: (layers, heads, len T, len H, len W) float32.

        shares: per axis a list in 0...1. Unit: `measure_reach_and_error`; below the smallest recorded window
        the error stays that window's. Raises ValueError if none was recorded.
        """
        if self.error is None:
            raise ValueError(
                "This trajectory holds no record of output errors, which the policy 'error' weighs heads by. "
                "Choose the policy 'paper', or run the Low-Res Sampler with capture_error switched on."
            )
        return self._table(self.error[step], shares, below_first=1.0)

    def _table(self, values: Tensor, shares: tuple[Tensor, Tensor, Tensor], below_first: float) -> Tensor:
        """Separable interpolation: (layers, heads, nT, nH, nW) -> (layers, heads, len T, len H, len W)."""
        t, h, w = (
            _interpolation(knots, at, below_first)
            for knots, at in zip(axis_shares(self.grid), shares, strict=True)
        )
        # One axis at a time, always the last one, so that each step is a single large matrix product.
        values = values.float() @ w.T  # (layers, heads, nT, nH, len W)
        values = values.movedim(3, -1) @ h.T  # (layers, heads, nT, len W, len H)
        values = values.movedim(2, -1) @ t.T  # (layers, heads, len W, len H, len T)
        return rearrange(values, "l m w h t -> l m t h w").contiguous()


def _interpolation(knots: Tensor, at: Tensor, below_first: float) -> Tensor:
    """(len(at), len(knots)) float32: weights of linear interpolation between ascending knots.

    Below the first knot the weights sum to less than 1 and reach `below_first` at zero.
    """
    at = at.double().clamp(0.0, 1.0)
    knots = torch.cat([knots.new_zeros(1), knots.double()])
    right = torch.searchsorted(knots, at).clamp(1, len(knots) - 1)
    share = ((at - knots[right - 1]) / (knots[right] - knots[right - 1])).clamp(0.0, 1.0)
    weights = torch.zeros(len(at), len(knots), dtype=torch.float64)
    index = torch.arange(len(at))
    weights[index, right - 1] = 1.0 - share
    weights[index, right] = share
    weights[:, 1] += below_first * weights[:, 0]
    return weights[:, 1:].float()
