"""Finite differences on uneven sigma, from which the solver takes its derivatives.

All of them are derivatives of the polynomial through the given values (Lagrange's form). Three nodes around
sigma give the formulas of a central difference with unequal steps, two or three nodes that end at sigma give
Adams-Bashforth steps, and two nodes on both sides of sigma give the "wide" difference.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def derivative_weights(nodes: Sequence[float], at: float) -> tuple[list[float], list[float]]:
    """Weights of the first and second derivative at `at` of the polynomial through 2 or 3 nodes.

    Exact for polynomials of degree len(nodes)-1; with 2 nodes the second derivative is 0.
    """
    if len(nodes) == 2:
        a, b = nodes
        return [1 / (a - b), 1 / (b - a)], [0.0, 0.0]
    first: list[float] = []
    second: list[float] = []
    for j, node in enumerate(nodes):
        other, another = (nodes[k] for k in range(3) if k != j)
        product = (node - other) * (node - another)
        first.append((2 * at - other - another) / product)
        second.append(2 / product)
    return first, second


def value_weights(nodes: Sequence[float], at: float) -> list[float]:
    """Weights of the value at `at` of the polynomial through the nodes; they sum to 1."""
    weights: list[float] = []
    for j, node in enumerate(nodes):
        weight = 1.0
        for k, other in enumerate(nodes):
            if k != j:
                weight *= (at - other) / (node - other)
        weights.append(weight)
    return weights


def combine(weights: Sequence[float], values: Sequence[Tensor]) -> Tensor:
    """Weighted sum of tensors of one shape, which it has again; one weight per value, at least one."""
    total = values[0] * weights[0]
    for weight, value in zip(weights[1:], values[1:]):
        total = total + value * weight
    return total
