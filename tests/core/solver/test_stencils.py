"""Finite differences are the published formulas, and exact on quadratics."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s2flow_core.solver.stencils import combine, derivative_weights, value_weights

spread_nodes = st.lists(st.integers(0, 40), min_size=3, max_size=3, unique=True).map(
    lambda picks: [0.1 + 0.02 * pick for pick in picks]
)


@given(spread_nodes, st.tuples(*[st.floats(-3, 3)] * 3))
def test_stencils_are_exact_on_quadratics(nodes: list[float], c: tuple[float, float, float]):
    at = nodes[0]
    first, second = derivative_weights(nodes, at)
    values = [torch.tensor(c[0] + c[1] * s + c[2] * s * s, dtype=torch.float64) for s in nodes]
    assert combine(first, values).item() == pytest.approx(c[1] + 2 * c[2] * at, abs=1e-8)
    assert combine(second, values).item() == pytest.approx(2 * c[2], abs=1e-6)
    middle = sum(nodes) / 3
    expected = c[0] + c[1] * middle + c[2] * middle**2
    assert combine(value_weights(nodes, middle), values).item() == pytest.approx(expected, abs=1e-8)


@given(st.floats(0.01, 0.3), st.floats(0.01, 0.3))
def test_stencils_are_the_published_formulas(behind: float, ahead: float):
    h1, h2 = -behind, -ahead  # sigma falls
    sigma = 0.5
    first, second = derivative_weights([sigma - h1, sigma, sigma + h2], sigma)
    assert first == pytest.approx([-h2 / (h1 * (h1 + h2)), (h2 - h1) / (h1 * h2), h1 / (h2 * (h1 + h2))])
    product = h1 * h2 * (h1 + h2)
    assert second == pytest.approx([2 * h2 / product, -2 * (h1 + h2) / product, 2 * h1 / product])
    backward, _ = derivative_weights([sigma, sigma - h1, sigma - h1 - h2], sigma)
    expected = [(2 * h1 + h2) / (h1 * (h1 + h2)), -(h1 + h2) / (h1 * h2), h1 / (h2 * (h1 + h2))]
    assert backward == pytest.approx(expected)
    wide, none = derivative_weights([sigma - h1, sigma + h2], sigma)
    assert wide == pytest.approx([-1 / (h1 + h2), 1 / (h1 + h2)]) and none == [0, 0]
