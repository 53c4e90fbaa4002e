"""Each source of derivatives gives what it promises, and nothing where it knows nothing."""

from __future__ import annotations

import pytest
import torch
from known_flows import field_of
from torch import Tensor

from s2flow_core.latent.flow import shifted_sigmas
from s2flow_core.solver.derivatives import (
    SOURCES,
    BlendDerivative,
    HistoryDerivative,
    LowResDerivative,
    Node,
    NoDerivative,
    StepView,
)
from s2flow_core.solver.flow_solver import FlowSolver


def view_at(i: int, sigmas: Tensor, steps: int = 30) -> StepView:
    nodes = [Node(float(s), torch.zeros(1, 2, dtype=torch.float64)) for s in sigmas]
    return StepView(nodes[i], nodes[max(0, i - 2) : i][::-1], nodes[i + 1].sigma, True, steps)


def test_low_res_derivative_at_the_ends_and_with_few_steps():
    sigmas = shifted_sigmas(8, 3.0, torch.float64)
    grid = sigmas.tolist()
    source = LowResDerivative(field_of(lambda s: s * s, sigmas))

    def slope(a: int, b: int) -> float:
        return grid[a] + grid[b]  # of sigma² between two nodes

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


@pytest.mark.parametrize("source", [HistoryDerivative(), BlendDerivative()])
@pytest.mark.parametrize("order", [2, 3])
def test_history_is_exact_on_polynomials_of_its_order(source, order: int):
    """Of three nodes at unequal distances; without a record, and trusted in full, blend is history."""

    def at(sigma: float) -> Node:
        quadratic = (order == 3) * 4 * sigma * sigma
        return Node(sigma, torch.full((1, 2), 1 - 3 * sigma + quadratic, dtype=torch.float64))

    view = StepView(at(0.5), (at(0.6), at(0.75)), 0.45, True, 30)
    first, second = source.derivatives(view, order)
    rise = -3.0 if order == 2 else -3 + 8 * 0.5
    torch.testing.assert_close(first, torch.full((1, 2), rise, dtype=torch.float64))
    if order == 2:
        assert second is None
    else:
        torch.testing.assert_close(second, torch.full((1, 2), 8.0, dtype=torch.float64))


@pytest.mark.parametrize("source", [NoDerivative(), HistoryDerivative(), BlendDerivative()])
def test_without_a_past_every_source_is_euler(source):
    alone = StepView(Node(1.0, torch.ones(1, 2)), (), 0.9, True, 30)
    assert source.derivatives(alone, 3) == (None, None)


def curve_view(gains: tuple[float, ...]) -> StepView:
    """Two videos whose velocity follows sigma² by their gain, at 0.5 after 0.6 and 0.7."""
    gain = torch.tensor(gains, dtype=torch.float64)[:, None].expand(-1, 2)
    here, before, first = (Node(s, gain * s * s) for s in (0.5, 0.6, 0.7))
    return StepView(here, (before, first), 0.4, True, 30)


def test_the_gate_is_how_much_of_the_record_hr_followed_video_by_video():
    """The record's velocity is sigma²: what HR followed by 0.3 is carried on by 0.3, and at most by 1."""
    field = field_of(lambda s: s * s, torch.linspace(1, 0, 21, dtype=torch.float64))
    gains = (0.3, 1.0, 4.0, -2.0)
    first, _ = BlendDerivative(field).derivatives(curve_view(gains), 2)
    assert first is not None
    # Backward difference of gain·sigma² over [0.5, 0.6]; the record's central one is 0.1 less.
    expected = [1.1 * gain - 0.1 * min(max(gain, 0.0), 1.0) for gain in gains]
    assert first[:, 0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_that_is_listed_can_be_made(name: str):
    field = field_of(lambda s: s, torch.linspace(1, 0, 11, dtype=torch.float64))
    FlowSolver(2, name, field).step(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([1.0, 0.5]), 0)
