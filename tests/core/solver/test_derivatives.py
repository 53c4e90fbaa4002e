"""Each source of derivatives gives what it promises, and nothing where it knows nothing."""

from __future__ import annotations

import pytest
import torch
from known_flows import field_of
from torch import Tensor

from s2flow_core.latent.flow import shifted_sigmas
from s2flow_core.solver.derivatives import BlendDerivative, LowResDerivative, Node, StepView


def view_at(i: int, sigmas: Tensor, steps: int = 30) -> StepView:
    nodes = [Node(float(s), torch.zeros(1, 2, dtype=torch.float64)) for s in sigmas]
    return StepView(nodes[i], nodes[max(0, i - 2) : i][::-1], nodes[i + 1].sigma, True, steps)


def test_low_res_derivative_at_the_ends_and_with_few_steps():
    sigmas = shifted_sigmas(8, 3.0, torch.float64)
    grid = sigmas.tolist()
    source = LowResDerivative(field_of(lambda s: s * s, sigmas))

    def slope(a: int, b: int) -> float:
        return grid[a] + grid[b]  # of σ² between two nodes

    def first_of(view: StepView) -> float:
        first, second = source.derivatives(view, 2)
        assert first is not None and second is None
        return first[0, 0].item()

    assert first_of(view_at(0, sigmas)) == pytest.approx(slope(0, 1))  # forward
    assert first_of(view_at(3, sigmas)) == pytest.approx(2 * grid[3])  # central
    assert first_of(view_at(3, sigmas, steps=8)) == pytest.approx(slope(2, 4))  # wide
    assert source.derivatives(view_at(7, sigmas), 2) == (None, None)  # the last step is Euler
    # An HR run that starts in the middle finds its predecessor in the record.
    alone = StepView(Node(grid[3], torch.zeros(1, 2)), (), grid[4], True, 30)
    assert first_of(alone) == pytest.approx(2 * grid[3])


@pytest.mark.parametrize(
    ("last_length", "length", "share"),
    [(0.1, 0.1, 1.0), (0.01, 0.15, 1.0), (0.2, 0.4, 1.0), (0.1, 0.4, 0.25), (0.2, 0.8, 0.25)],
)
def test_blend_trusts_its_history_over_a_limited_length(last_length: float, length: float, share: float):
    here, before = (Node(s, torch.full((1, 2), s)) for s in (length, length + last_length))
    first, _ = BlendDerivative().derivatives(StepView(here, [before], 0.0, True, 8), 2)
    assert first is not None and first[0, 0].item() == pytest.approx(share, rel=1e-4)
