"""Muon in the precision of its gradients: torch's own works in bfloat16, which most CPUs only emulate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.piecewise import Workers

MOMENTUM = 0.95
# Quintic iteration of Keller Jordan's Muon, and how often it is applied.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def orthogonalised(matrix: Tensor) -> Tensor:
    """The nearest matrix with equal singular values, roughly -> same shape; by Newton-Schulz steps."""
    a, b, c = COEFFICIENTS
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if matrix.shape[0] > matrix.shape[1] else x


@torch.no_grad()
def step_of(matrix: nn.Parameter, momentum: Tensor, rate: float) -> None:
    """Moves a matrix and its momentum by its gradient, which it forgets; without one both stay."""
    if matrix.grad is None:
        return
    momentum.lerp_(matrix.grad, 1 - MOMENTUM)
    ahead = matrix.grad.lerp(momentum, MOMENTUM)  # Nesterov
    matrix.sub_(orthogonalised(ahead), alpha=rate * 0.2 * max(matrix.shape) ** 0.5)
    matrix.grad = None


class Muon:
    """Momentum whose steps are orthogonalised, as long as AdamW's (Liu et al. 2025, "Muon is scalable")."""

    def __init__(self, matrices: list[nn.Parameter], workers: Workers | None = None):
        self.matrices = matrices
        self.momenta = [torch.zeros_like(matrix) for matrix in matrices]
        self.workers = workers

    def step(self, rate: float) -> None:
        """A step by the gradients, which it forgets; a matrix without one stays as it is."""
        pairs = zip(self.matrices, self.momenta, strict=True)
        every = map if self.workers is None else self.workers.map
        list(every(lambda pair: step_of(*pair, rate), pairs))

    def state_dict(self) -> dict:
        return {"momenta": self.momenta}

    def load_state_dict(self, state: dict) -> None:
        for momentum, saved in zip(self.momenta, state["momenta"], strict=True):
            momentum.copy_(saved)
