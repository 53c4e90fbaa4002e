"""A shared budget is never overdrawn, never worth less than its baseline, and near the optimum."""

from __future__ import annotations

import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s2flow_core.plan.budget import allocate, head_curves


@given(st.integers(0, 999), st.integers(1, 4), st.integers(2, 6))
@settings(max_examples=60)
def test_allocation_is_between_the_baseline_and_the_optimum(seed, heads, windows):
    generator = torch.Generator().manual_seed(seed)
    cost = torch.rand(windows, generator=generator).sort().values
    value = torch.rand(heads, windows, generator=generator).sort(dim=1).values
    baseline = torch.randint(windows, (heads,), generator=generator)
    chosen = allocate(value, cost, baseline)
    limit = cost.double()[baseline].sum() + 1e-9
    rows = torch.arange(heads)
    assert cost.double()[chosen].sum() <= limit
    best = max(
        value[rows, list(choice)].sum().item()
        for choice in itertools.product(range(windows), repeat=heads)
        if cost.double()[list(choice)].sum() <= limit
    )
    got = value[rows, chosen].sum().item()
    assert value[rows, baseline].sum().item() - 1e-6 <= got <= best + 1e-6


def test_the_baseline_is_rarely_kept_where_something_better_can_be_paid():
    """Levels are finest where windows are cheap, and the search must reach prices as high as those steps."""
    kept, gaps = 0, []
    for seed in range(150):
        generator = torch.Generator().manual_seed(seed)
        cost = torch.rand(6, generator=generator).sort().values ** 3
        value = torch.rand(3, 6, generator=generator).sort(dim=1).values
        baseline = torch.randint(6, (3,), generator=generator)
        rows, limit = torch.arange(3), cost.double()[baseline].sum() + 1e-9
        best = max(
            value[rows, list(choice)].sum().item()
            for choice in itertools.product(range(6), repeat=3)
            if cost.double()[list(choice)].sum() <= limit
        )
        chosen = allocate(value, cost, baseline)
        kept += torch.equal(chosen, baseline) and value[rows, baseline].sum().item() < best - 1e-6
        gaps.append(1 - value[rows, chosen].sum().item() / best)
    assert kept <= 5
    assert sum(gaps) / len(gaps) <= 0.02


def test_allocation_is_optimal_on_concave_curves_up_to_the_last_step():
    generator = torch.Generator().manual_seed(0)
    cost = torch.linspace(0.05, 1.0, 20)
    rate = 0.5 + 30 * torch.rand(200, 1, generator=generator)
    value = 1 - torch.exp(-rate * cost)
    baseline = torch.full((200,), 6)
    chosen = allocate(value, cost, baseline)
    # The greedy optimum of a concave problem: best steps first, from the least window.
    steps = value.diff(dim=1).flatten().sort(descending=True).values
    affordable = round((200 * cost[6].item() - 200 * cost[0].item()) / 0.05)
    best = value[:, 0].sum() + steps[:affordable].sum()
    assert value[torch.arange(200), chosen].sum() >= best - steps[0]


@given(st.integers(0, 999), st.integers(1, 3), st.integers(2, 300))
@settings(max_examples=40)
def test_curves_rise_and_hold_the_best_window_that_is_no_dearer(seed: int, heads: int, windows: int):
    generator = torch.Generator().manual_seed(seed)
    cost, value = torch.rand(windows, generator=generator), torch.rand(heads, windows, generator=generator)
    curves = head_curves(value, cost)
    assert curves.choice.shape == (heads, curves.value.shape[1]) and curves.value.shape[1] <= 96
    assert torch.equal(curves.value, value.double().gather(1, curves.choice))
    assert torch.equal(curves.cost, cost.double()[curves.choice])
    assert (curves.value.diff(dim=1) >= 0).all() and (curves.cost[:, -1] <= cost.max()).all()
    for head in range(heads):
        assert curves.value[head, -1] == value[head].max().double()


def test_what_is_left_over_buys_the_single_best_step():
    """Two heads, windows of cost 1, 2 and 3, and 4 to spend."""
    cost = torch.tensor([1.0, 2.0, 3.0])
    baseline = torch.tensor([1, 1])
    gains_much = torch.tensor([[0.0, 1.0, 5.0], [0.0, 0.5, 0.6]])
    assert allocate(gains_much, cost, baseline).tolist() == [2, 0]
    alike = torch.tensor([[0.0, 3.0, 4.0], [0.0, 3.0, 4.0]])
    assert allocate(alike, cost, baseline).tolist() == [1, 1]
    nothing_to_gain = torch.tensor([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    assert allocate(nothing_to_gain, cost, torch.tensor([0, 0])).tolist() == [0, 0]
