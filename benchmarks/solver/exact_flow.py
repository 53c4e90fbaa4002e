"""A rectified flow whose velocity is known in closed form, at two resolutions.

The data are small pictures drawn from a Gaussian mixture: each mode is a blob at another place, and a
shared covariance with a falling spectrum adds texture. Block means of such data are again a Gaussian
mixture, so the low-resolution model is exact too, and an ODE solver's error can be told from everything else.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from s2flow_core.solver.alignment import cosine_basis

SIDE = 8  # HR pictures are SIDE×SIDE
MODES = 6
BLOB_HEIGHT = 2.5
TEXTURE_VARIANCE = 0.25  # per cell
SPECTRUM_SLOPE = 1.0  # power falls as 1/frequency


@dataclass(frozen=True)
class MixtureFlow:
    """Exact velocity of `x = (1-sigma)·data + sigma·noise` for equally likely modes with one shared
    covariance."""

    means: Tensor  # (modes, cells)
    covariance: Tensor  # (cells, cells)
    basis: Tensor  # (cells, cells), eigenvectors of the covariance in columns
    variances: Tensor  # (cells,)

    @classmethod
    def of(cls, means: Tensor, covariance: Tensor) -> MixtureFlow:
        """Flow of the mixture with these means (modes, cells) and covariance (cells, cells)."""
        variances, basis = torch.linalg.eigh(covariance)
        return cls(means, covariance, basis, variances)

    def velocity(self, x: Tensor, sigma: float) -> Tensor:
        """u(x, sigma) for x: (n, cells); finite on the whole of 0 <= sigma <= 1."""
        return self._velocity(x @ self.basis, self.means @ self.basis, sigma) @ self.basis.T

    def denoised(self, x: Tensor, sigma: float) -> Tensor:
        """Posterior mean D = x - sigma·u."""
        return x - sigma * self.velocity(x, sigma)

    def block_mean(self, scale: int) -> MixtureFlow:
        """The flow of the same data, averaged over scale×scale blocks."""
        average = block_average(SIDE, scale)
        return MixtureFlow.of(self.means @ average.T, average @ self.covariance @ average.T)

    def reference(self, x: Tensor, sigmas: Tensor) -> Tensor:
        """Solution at the end of a fine sigma grid by the classical fourth-order Runge-Kutta method."""
        x, means = x @ self.basis, self.means @ self.basis
        for sigma, after in itertools.pairwise(sigmas.tolist()):
            h = after - sigma
            k1 = self._velocity(x, means, sigma)
            k2 = self._velocity(x + h / 2 * k1, means, sigma + h / 2)
            k3 = self._velocity(x + h / 2 * k2, means, sigma + h / 2)
            k4 = self._velocity(x + h * k3, means, after)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return x @ self.basis.T

    def _velocity(self, x: Tensor, means: Tensor, sigma: float) -> Tensor:
        """The same with x and means in the covariance's eigenbasis."""
        clean = 1 - sigma
        spread = clean**2 * self.variances + sigma**2  # (cells,), variance of x within a mode
        weighted = means / spread  # (modes, cells)
        evidence = clean * x @ weighted.T - clean**2 / 2 * (weighted * means).sum(-1)  # (n, modes)
        mean = torch.softmax(evidence, dim=-1) @ means  # (n, cells), of the modes that x may belong to
        return (x - clean * mean) * ((sigma - clean * self.variances) / spread) - mean


def block_average(side: int, scale: int) -> Tensor:
    """Matrix of the block mean, (cells/scale², cells), for row-major pictures."""
    runs = torch.full((1, scale), 1 / scale, dtype=torch.float64)
    axis = torch.kron(torch.eye(side // scale, dtype=torch.float64), runs)
    return torch.kron(axis, axis)


def picture_flow(seed: int = 0) -> MixtureFlow:
    """The benchmark's data: blobs with a fine wave on them, at seeded places."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(MODES, 2, generator=generator, dtype=torch.float64) * (SIDE - 2) + 0.5
    phase = torch.rand(MODES, 1, 1, generator=generator, dtype=torch.float64) * 2 * math.pi
    y, x = torch.meshgrid(*[torch.arange(SIDE, dtype=torch.float64)] * 2, indexing="ij")
    distance = (y - place[:, 0, None, None]) ** 2 + (x - place[:, 1, None, None]) ** 2
    blob = BLOB_HEIGHT * torch.exp(-distance / (2 * 1.5**2))
    means = blob * (1 + 0.4 * torch.cos(2.2 * x + 1.1 * y + phase))  # (modes, SIDE, SIDE)
    frequency = torch.arange(SIDE, dtype=torch.float64)
    power = (1 + frequency[:, None] ** 2 + frequency[None] ** 2) ** (-SPECTRUM_SLOPE / 2)
    power = power * (TEXTURE_VARIANCE * SIDE**2 / power.sum())
    waves = torch.kron(cosine_basis(SIDE), cosine_basis(SIDE))  # (frequencies, cells)
    return MixtureFlow.of(means.reshape(MODES, -1), waves.T @ (power.reshape(-1, 1) * waves))
