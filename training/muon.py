"""Muon in the precision of its gradients: torch's own works in bfloat16, which most CPUs only emulate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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


class Muon:
    """Momentum whose steps are orthogonalised, as long as AdamW's (Liu et al. 2025, "Muon is scalable")."""

    def __init__(self, matrices: list[nn.Parameter]):
        self.matrices = matrices
        self.momenta = [torch.zeros_like(matrix) for matrix in matrices]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """A step by the gradients, which it forgets; a matrix without one stays as it is."""
        for matrix, momentum in zip(self.matrices, self.momenta, strict=True):
            if matrix.grad is None:
                continue
            momentum.lerp_(matrix.grad, 1 - MOMENTUM)
            ahead = matrix.grad.lerp(momentum, MOMENTUM)  # Nesterov
            matrix.sub_(orthogonalised(ahead), alpha=rate * 0.2 * max(matrix.shape) ** 0.5)
            matrix.grad = None

    def state_dict(self) -> dict:
        return {"momenta": self.momenta}

    def load_state_dict(self, state: dict) -> None:
        for momentum, saved in zip(self.momenta, state["momenta"], strict=True):
            momentum.copy_(saved)
