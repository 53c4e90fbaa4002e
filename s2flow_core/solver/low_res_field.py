"""The LR record as the HR solver sees it: how the velocity changes with sigma, at HR size.

Differences of the LR clean estimate are enough to know it. An Euler step of the LR run from sigma_i to
sigma_k obeys `u_k - u_i = -(D_k - D_i)/sigma_k` exactly: the noise cancels, and what is left is smooth and
may be upsampled with plain bicubic. In the limit of small steps this is `du/dsigma = -(1/sigma)·dD/dsigma`,
which holds on the flow itself. A sampler of higher order follows that closely, so there the difference is its
integral with D straight between the steps: `-(D_k - D_i)·ln(sigma_k/sigma_i)/(sigma_k - sigma_i)`, exact to
the second order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..latent.flow import SAME_SIGMA, snr_matched_sigma
from .stencils import combine, derivative_weights, value_weights

_KEPT = 6  # a solver looks one step ahead and two behind, an interpolation one more on either side


def matched_switches(switch_sigmas: Sequence[float], snr_scale: float) -> list[float]:
    """HR sigmas at which the LR run changed, matched by `snr_scale` (1: as they are); falling as given.

    A step's sigma comes back from float32 and the match a little off, so each switch lies below it by as much
    as one sigma may differ from itself.
    """
    matched = snr_matched_sigma(torch.tensor(tuple(switch_sigmas), dtype=torch.float64), snr_scale)
    return [float(switch) - SAME_SIGMA for switch in matched]


class LowResField:
    """Changes of the HR velocity as the LR record predicts them.

    sigmas: (N,) or (N+1,) of the LR run, falling; a closing 0 is ignored.
    denoised: (N, B, C, T, h, w), clean estimates in whatever space `upsample` takes.
    upsample: (B, C, T, h, w) -> HR size, model space, sampling device. It is given differences of
    estimates; it must be linear, a constant may be added.
    snr_scale: s when the HR sigmas are `snr_matched` to the record, else 1. All sigmas below are HR sigmas.
    switch_sigmas: HR sigmas at which the LR run changed its model or guidance; at each, what has
    sigma >= switch_sigma came before the change. euler: whether the record's steps are Euler's.
    Raises ValueError if the record's numbers of sigmas and of estimates differ.
    """

    def __init__(
        self,
        sigmas: Tensor,
        denoised: Tensor,
        upsample: Callable[[Tensor], Tensor],
        snr_scale: float = 1.0,
        switch_sigmas: Sequence[float] = (),
        euler: bool = True,
    ):
        steps = denoised.shape[0]
        if len(sigmas) not in (steps, steps + 1):
            raise ValueError(
                f"The LR record holds {steps} estimates but {len(sigmas)} sigmas; "
                "run the Low-Res Sampler again."
            )
        self._sigmas = [float(s) for s in snr_matched_sigma(sigmas[:steps].double(), snr_scale)]
        self._denoised = denoised
        self._upsample = upsample
        self._switches = tuple(switch_sigmas)
        self._euler = euler
        self._low_velocities: dict[int, Tensor] = {}
        self._velocities: dict[float, Tensor] = {}

    def usable(self, sigma: float, beside: float) -> bool:
        """Whether the record covers `sigma`, with no change of model or guidance up to `beside`."""
        covered = self._sigmas[-1] - SAME_SIGMA <= sigma <= self._sigmas[0] + SAME_SIGMA
        return covered and self._expert(sigma) == self._expert(beside)

    def sigma_before(self, sigma: float) -> float | None:
        """sigma of the recorded step that precedes `sigma`, or None at the start of the record."""
        earlier = [s for s in self._sigmas if s > sigma + SAME_SIGMA]
        return earlier[-1] if earlier else None

    def velocity_at(self, sigma: float) -> Tensor:
        """Upsampled LR velocity at a usable sigma, up to one constant tensor: only differences mean anything.

        (B, C, T, H, W) in HR size and model space, as `upsample` gives it.
        """
        if sigma not in self._velocities:
            while len(self._velocities) >= _KEPT:
                self._velocities.pop(max(self._velocities))  # the run moves down in sigma
            self._velocities[sigma] = self._upsample(self._interpolated(sigma))
        return self._velocities[sigma]

    def derivatives(self, nodes: Sequence[float], sigma: float) -> tuple[Tensor, Tensor]:
        """u' and u'' at `sigma` of the polynomial through the LR velocities at 2 or 3 nodes.

        nodes: distinct usable sigma. Both are (B, C, T, H, W), as `velocity_at`; with 2 nodes u'' is zeros.
        """
        first, second = derivative_weights(nodes, sigma)
        values = [self.velocity_at(node) for node in nodes]
        return combine(first, values), combine(second, values)

    def _expert(self, sigma: float) -> int:
        return sum(sigma >= switch for switch in self._switches)

    def _interpolated(self, sigma: float) -> Tensor:
        """LR velocity from up to four recorded neighbours of the same expert (local cubic)."""
        distances = [abs(s - sigma) for s in self._sigmas]
        nearest = min(range(len(distances)), key=distances.__getitem__)
        if distances[nearest] <= SAME_SIGMA:
            return self._low_velocity(nearest)
        same = [k for k, s in enumerate(self._sigmas) if self._expert(s) == self._expert(sigma)]
        above = sum(self._sigmas[k] > sigma for k in same)
        start = max(0, min(above - 2, len(same) - 4))
        chosen = same[start : start + 4]
        weights = value_weights([self._sigmas[k] for k in chosen], sigma)
        return combine(weights, [self._low_velocity(k) for k in chosen])

    def _low_velocity(self, k: int) -> Tensor:
        """LR velocity at recorded step k, counted from the first of the record.

        Not from the first one asked for: a run that goes on after a stop would round its sums otherwise.
        """
        known = self._low_velocities
        if not known:
            known[0] = torch.zeros_like(self._estimate(0))
        while k not in known:
            i = min(known, key=lambda step: abs(step - k))
            later = max(i, i + (1 if k > i else -1))
            rise = -self._rate(later) * (self._estimate(later) - self._estimate(later - 1))
            known[i + 1 if k > i else i - 1] = known[i] + rise if k > i else known[i] - rise
            if len(known) > _KEPT:
                del known[max(known, key=lambda step: abs(step - k))]
        return known[k]

    def _rate(self, later: int) -> float:
        """1/sigma as it stands in the difference between a recorded step and the one before it."""
        low, high = self._sigmas[later], self._sigmas[later - 1]
        return 1 / low if self._euler else math.log(low / high) / (low - high)

    def _estimate(self, k: int) -> Tensor:
        estimate = self._denoised[k]
        return estimate if estimate.dtype == torch.float64 else estimate.float()
