"""The record of a run's attention: reach, and output error, of every window at every step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor

from ..windows.extents import axis_shares
from ..windows.grid import TokenGrid, Triple
from ..windows.ladder import Knots, every_extent
from .interpolation import interpolation

RECORDED = ("mass", "error", "nothing", "tail_error", "tail_nothing")
"""Fields of `AttentionReach` that hold one entry per step."""

RECORDED_PER_HEAD = ("nothing", "tail_nothing")
"""Those that have no entry per window."""


@dataclass(frozen=True)
class AttentionReach:
    """What every head of every recorded step looks at, as a function of window size; CPU tensors.

    mass: (steps, layers, heads, kT, kH, kW) half precision; the mean attention mass, 0...1, inside the window
    whose extents are `knots[0][i], knots[1][j], knots[2][k]` tiles of `tile` on a video of `shape` tokens.
    error: the same shape, or None; the output error of that window as `measure_reach_and_error` defines it.
    knots: per axis the recorded extents, rising to the whole axis; None stands for all, as in records of
    earlier versions. nothing: (steps, layers, heads), the output error of seeing no video; None if unknown.
    tail_error, tail_nothing: the same where skipped tiles enter as their mean; None in records of earlier
    versions.
    """

    mass: Tensor
    shape: Triple
    tile: Triple
    error: Tensor | None = None
    knots: Knots | None = None
    nothing: Tensor | None = None
    tail_error: Tensor | None = None
    tail_nothing: Tensor | None = None

    def __post_init__(self) -> None:
        counts = tuple(map(len, self.extents))
        for name, values in self.tensors.items():
            if name in RECORDED_PER_HEAD:
                if values.shape != self.mass.shape[:3]:
                    raise ValueError(
                        f"The attention record's {name} has shape {tuple(values.shape)}; it needs (steps, "
                        f"layers, heads), {tuple(self.mass.shape[:3])}."
                    )
            elif values.ndim != 6 or tuple(values.shape[3:]) != counts:
                raise ValueError(
                    f"The attention record's {name} has shape {tuple(values.shape)}; a video of {self.shape} "
                    f"tokens in tiles of {self.tile} needs (steps, layers, heads, {counts})."
                )
        for extents, count in zip(self.extents, self.grid.tiles, strict=True):
            if sorted(set(extents)) != list(extents) or extents[0] < 1 or extents[-1] != count:
                raise ValueError(
                    f"The attention record's extents {extents} do not rise to the {count} tiles of its axis."
                )

    @property
    def grid(self) -> TokenGrid:
        """The tokens of the recorded video and the tiles that its windows are counted in."""
        return TokenGrid(self.shape, self.tile)

    @property
    def extents(self) -> Knots:
        """Per axis the recorded extents, in tiles."""
        return every_extent(self.grid.tiles) if self.knots is None else self.knots

    @property
    def shares(self) -> tuple[Tensor, Tensor, Tensor]:
        """Per axis (k,) float64: the share of the grid that a query sees under each recorded extent."""
        t, h, w = (
            shares[torch.tensor(extents) - 1]
            for shares, extents in zip(axis_shares(self.grid), self.extents, strict=True)
        )
        return t, h, w

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Everything that was recorded step by step, by its field; what is missing is left out."""
        return {name: values for name in RECORDED if (values := getattr(self, name)) is not None}

    def check_records(self, grid: TokenGrid, extents: Knots) -> None:
        """Raise a ValueError unless it holds these windows, so that another run can go on with it."""
        if (self.grid, self.extents) != (grid, extents):
            raise ValueError(
                "The earlier trajectory recorded attention in other windows than this run, as earlier "
                "versions of the pack did. Run its Low-Res Sampler again, or set capture_rows to 0 in both."
            )

    @property
    def steps(self) -> int:
        """How many steps of the run were recorded."""
        return self.mass.shape[0]

    def of_steps(self, steps: Tensor) -> AttentionReach:
        """The record of these steps (M,) alone, in this order; a step may come more than once."""
        return replace(self, **{name: values[steps] for name, values in self.tensors.items()})

    def followed_by(self, later: AttentionReach) -> AttentionReach:
        """The record of this run and of one that continued it, of what both recorded.

        Raises ValueError as `check_records` does.
        """
        self.check_records(later.grid, later.extents)
        both = self.tensors.keys() & later.tensors.keys()
        joined = {name: torch.cat([self.tensors[name], later.tensors[name]]) for name in both}
        return AttentionReach(shape=later.shape, tile=later.tile, knots=later.knots, **joined)

    def coverage(self, fractions: Tensor, step: int | None = None) -> Tensor:
        """Attention mass inside any windows, interpolated between the recorded ones.

        fractions: (J, 3), size of each window as a share of the grid per axis, 0...1; so the same window
        can be asked for on a grid of any resolution. Returns (steps, layers, heads, J) float32, or (layers,
        heads, J) of one step: nothing covers nothing, the whole grid covers 1.
        """
        t, h, w = (interpolation(self.shares[axis], fractions[:, axis]) for axis in range(3))
        weights = torch.einsum("jt,jh,jw->jthw", t, h, w).flatten(1)  # (J, nT*nH*nW)
        mass = self.mass if step is None else self.mass[step]
        return (mass.float().flatten(-3) @ weights.T).clamp_(0.0, 1.0)

    def coverage_table(self, step: int, shares: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """`coverage` of all combinations of three lists of shares: (layers, heads, len T, len H, len W).

        shares: per axis a list in 0...1.
        """
        return self._table(self.mass[step], shares).clamp_(0.0, 1.0)

    def error_table(self, step: int, shares: tuple[Tensor, Tensor, Tensor], tail: bool = False) -> Tensor:
        """Output error of the windows of `coverage_table`: (layers, heads, len T, len H, len W) float32.

        shares: per axis a list in 0...1. tail: with skipped tiles as their mean; without, where an
        earlier version recorded, or where a tile is one token. Unit: `measure_reach_and_error`. Below the
        smallest recorded window the error rises to that of seeing nothing, or, in records that do not hold
        it, stays that window's. Raises ValueError if none was recorded.
        """
        if self.error is None:
            raise ValueError(
                "This trajectory holds no record of output errors, which the policy 'error' weighs heads by. "
                "Choose the policy 'paper', or run the Low-Res Sampler with capture_error switched on."
            )
        # Errors are squares of a norm and fall by orders of magnitude from one extent to the next, so it is
        # the norms that are interpolated.
        error, nothing = self.error, self.nothing
        # A tile of one token is its own mean: such a record does not see what larger tiles lose.
        if tail and self.tail_error is not None and self.grid.tile_tokens > 1:
            error, nothing = self.tail_error, self.tail_nothing
        root = error[step].float().sqrt()
        if nothing is None:
            t, h, w = (torch.maximum(at, known[0]) for at, known in zip(shares, self.shares, strict=True))
            return self._table(root, (t, h, w)).clamp_min(0.0).square()
        # Without any share of one axis a window is empty, however large the other two are.
        blind = nothing[step].float().sqrt()[..., None, None, None]
        return (self._table(root - blind, shares) + blind).clamp_min(0.0).square()

    def _table(self, values: Tensor, shares: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Separable interpolation, 0 at a share of 0: (layers, heads, kT, kH, kW) -> (layers, heads, len T,
        len H, len W)."""
        t, h, w = (interpolation(known, at) for known, at in zip(self.shares, shares, strict=True))
        # One axis at a time, always the last one, so that each step is a single large matrix product.
        values = values.float() @ w.T  # (layers, heads, kT, kH, len W)
        values = values.movedim(3, -1) @ h.T  # (layers, heads, kT, len W, len H)
        values = values.movedim(2, -1) @ t.T  # (layers, heads, len W, len H, len T)
        return rearrange(values, "l m w h t -> l m t h w").contiguous()
