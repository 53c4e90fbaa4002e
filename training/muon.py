"""Muon in the precision that is fast: torch's own works in bfloat16, which most CPUs only emulate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.piecewise import Workers
from training.precision import fast_dtype

MOMENTUM = 0.95
# Quintic iteration of Keller Jordan's Muon, and how often it is applied.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def orthogonalised(matrices: Tensor) -> Tensor:
    """The nearest matrices with equal singular values, roughly -> same shape; by Newton-Schulz steps.

    matrices: (count, rows, columns).
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = (x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)).to(fast_dtype(x.device.type))
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices)


@torch.no_grad()
def step_of(matrices: list[nn.Parameter], momenta: list[Tensor], rate: float) -> None:
    """Moves matrices of one shape and their momenta by their gradients, which they forget."""
    gradients = torch.stack([matrix.grad for matrix in matrices if matrix.grad is not None])
    moved = torch.stack(momenta).lerp(gradients, 1 - MOMENTUM)
    steps = orthogonalised(gradients.lerp(moved, MOMENTUM))  # Nesterov
    length = rate * 0.2 * max(matrices[0].shape) ** 0.5
    for matrix, momentum, step, new in zip(matrices, momenta, steps, moved, strict=True):
        momentum.copy_(new)
        matrix.sub_(step, alpha=length)
        matrix.grad = None


class Muon:
    """Momentum whose steps are orthogonalised, as long as AdamW's (Liu et al. 2025, "Muon is scalable")."""

    def __init__(self, matrices: list[nn.Parameter], workers: Workers | None = None):
        self.matrices = matrices
        self.momenta = [torch.zeros_like(matrix) for matrix in matrices]
        self.workers = workers

    def step(self, rate: float) -> None:
        """A step by the gradients, which it forgets; a matrix without one stays as it is."""
        groups = self.groups()
        every = map if self.workers is None else self.workers.map
        list(every(lambda group: step_of([m for m, _ in group], [m for _, m in group], rate), groups))

    def groups(self) -> list[list[tuple[nn.Parameter, Tensor]]]:
        """Matrices with a gradient: each alone on a CPU, all of a shape together on a GPU.

        There a matrix alone is too small to fill the chip.
        """
        found: dict[object, list[tuple[nn.Parameter, Tensor]]] = {}
        for number, pair in enumerate(zip(self.matrices, self.momenta, strict=True)):
            if pair[0].grad is not None:
                found.setdefault(pair[0].shape if pair[0].is_cuda else number, []).append(pair)
        return list(found.values())

    def state_dict(self) -> dict:
        return {"momenta": self.momenta}

    def load_state_dict(self, state: dict) -> None:
        for momentum, saved in zip(self.momenta, state["momenta"], strict=True):
            momentum.copy_(saved)
