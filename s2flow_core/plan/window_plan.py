"""The chosen windows of a run, looked up by sigma, and what they are expected to cost and keep."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from torch import Tensor

from ..windows.extents import computed_pairs, extent_densities, extent_triples
from ..windows.grid import TokenGrid
from .curve import Curve

_SHAPES_IN_REPORT = 3  # what an artist reads at a glance


@dataclass(frozen=True)
class WindowPlan:
    """The windows of a run, looked up by sigma; CPU tensors.

    sigmas: (steps,) falling, where reach was recorded. grid: the HR tokens and tiles. extents: (steps,
    layers, heads, 3) int32, in tiles of `grid`. coverage: (steps, layers, heads), the attention mass
    expected inside the windows, 0...1. requested_density: the artist's s. tail: skipped tiles enter as
    their mean. curve: what other values of s would keep, where somebody asked. first_taken: the first
    recorded step that the large run takes, as far as somebody said.
    """

    sigmas: Tensor
    grid: TokenGrid
    extents: Tensor
    coverage: Tensor
    policy: str
    requested_density: float
    tail: bool = False
    curve: Curve | None = field(default=None, compare=False)
    first_taken: int = field(default=0, compare=False)

    @property
    def density(self) -> float:
        """Mean share of the video's key tokens that a query sees; exact, partial tiles included."""
        return self._densities(self.extents).mean().item()

    @property
    def head_densities(self) -> Tensor:
        """(steps, layers, heads): `density` of each window."""
        return self._densities(self.extents)

    @property
    def work(self) -> float:
        """What a kernel that works in whole tiles computes, as a share of dense attention."""
        computed = sum(computed_pairs(self.grid, extent) for extent in extent_triples(self.extents))
        return computed / (self.extents[..., 0].numel() * self.grid.tokens**2)

    def density_of_step(self, step: int) -> float:
        """`density` of one recorded step."""
        return self._densities(self.extents[step]).mean().item()

    def step_at(self, sigma: float) -> int | None:
        """The recorded step nearest to sigma; None more than half a step outside of the record.

        The last recorded step is the one that ends at sigma 0.
        """
        sigmas = [float(recorded) for recorded in self.sigmas]
        highest, lowest = sigmas[0], sigmas[-1]
        first_step = highest - (sigmas[1] if len(sigmas) > 1 else 0.0)
        if not lowest / 2 <= sigma <= highest + first_step / 2:
            return None
        return min(range(len(sigmas)), key=lambda step: abs(sigmas[step] - sigma))

    def extents_at(self, step: int, layer: int) -> Tensor:
        """(heads, 3) int32: the windows of one layer."""
        return self.extents[step, layer]

    @property
    def kept(self) -> float:
        """Mean share of the attention inside the windows of the steps that are taken."""
        return self.coverage[self.first_taken :].mean().item()

    def of_taken_steps(self) -> WindowPlan:
        """The same plan without the steps before the large run."""
        first = self.first_taken
        return replace(
            self,
            sigmas=self.sigmas[first:],
            extents=self.extents[first:],
            coverage=self.coverage[first:],
            first_taken=0,
        )

    def report(self) -> str:
        """What the windows of the steps that are taken do, in sentences for the artist."""
        taken, count = self.of_taken_steps(), len(self.sigmas)
        first = "" if len(taken.sigmas) == count else f"Of steps {self.first_taken + 1} to {count}: "
        return first + taken.sentences(self.first_taken + 1, count)

    def sentences(self, first: int, count: int) -> str:
        """first: the number of the first step here, of `count` that were recorded."""
        tiles = "×".join(map(str, self.grid.tiles))
        side = "×".join(map(str, self.grid.tile))
        _, layers, heads, _ = self.extents.shape
        worst = int(self.coverage.argmin())
        step, layer, head = worst // (layers * heads), worst // heads % layers, worst % heads
        shapes = Counter("×".join(map(str, extent)) for extent in extent_triples(self.extents))
        most_used = ", ".join(
            f"{shape} ({count / shapes.total():.0%})"
            for shape, count in shapes.most_common(_SHAPES_IN_REPORT)
        )
        said = (
            f"Attention looks at {self.density:.1%} of the video; {self.requested_density:.1%} was asked for "
            + f"(windows grow in whole tiles of {side} tokens, policy '{self.policy}'). A GPU kernel "
            + f"computes {self.work:.1%} of dense attention, padding of partial tiles included.",
            f"The windows hold {self.coverage.mean():.1%} of what the heads looked at in the low-resolution "
            + f"run; the head that loses most keeps {self.coverage.min():.1%} "
            + f"(step {step + first} of {count}, layer {layer + 1}, head {head + 1}).",
            f"Most used window shapes, in tiles of {tiles} (T×H×W): {most_used}.",
        )
        return "\n".join(said)

    def _densities(self, extents: Tensor) -> Tensor:
        t, h, w = (extents.long() - 1).unbind(-1)
        return extent_densities(self.grid)[t, h, w]
