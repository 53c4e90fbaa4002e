"""Which device computes which heads."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_plans import plan, random_record

from s2flow_core.attention.sharing.deal import deal_heads
from s2flow_core.windows.extents import extent_triples, seen_pairs
from s2flow_core.windows.grid import TokenGrid

WAN = TokenGrid((30, 48, 80), (2, 8, 8))
"""Tokens and tiles of 117 frames of 1280x768."""


def loads(costs, dealt):
    return [sum(costs[head] for head in heads) for heads in dealt]


@given(st.lists(st.floats(0, 1e6), max_size=50), st.lists(st.floats(0.01, 100), min_size=1, max_size=8))
def test_every_head_is_dealt_once_and_in_order(costs, speeds):
    dealt = deal_heads(costs, speeds)
    assert len(dealt) == len(speeds)
    assert sorted(head for heads in dealt for head in heads) == list(range(len(costs)))
    assert all(heads == sorted(heads) for heads in dealt)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=40), st.integers(1, 8))
def test_no_deal_is_worse_than_a_third_above_the_best(costs, devices):
    """Graham's bound, against the least that any deal can take."""
    least = max(
        sum(costs) / devices,
        max(costs),
        *([sum(sorted(costs)[-devices - 1 :][:2])] if len(costs) > devices else []),
    )
    assert max(loads(costs, deal_heads(costs, [1.0] * devices))) <= least * (4 / 3) + 1e-9


@cache
def costs_of_layers(policy, density):
    """What 40 heads take in eight layers, each of other windows."""
    windows = plan(random_record(5, steps=1, layers=8, heads=40), density, policy, grid=WAN)
    layers = (extent_triples(windows.extents_at(0, layer)) for layer in range(8))
    return [[seen_pairs(WAN, extent) for extent in extents] for extents in layers]


@pytest.mark.parametrize("devices", [2, 4, 8])
@pytest.mark.parametrize("policy", ["error", "budget", "paper"])
@pytest.mark.parametrize("density", [0.25, 0.5])
def test_forty_heads_of_plans_are_balanced(devices, policy, density, capsys):
    worst = 0.0
    for costs in costs_of_layers(policy, density):
        taken = loads(costs, deal_heads(costs, [1.0] * devices))
        worst = max(worst, max(taken) * devices / sum(taken))
    with capsys.disabled():
        print(f"\n40 heads, {policy} at {density}, {devices} devices: max/mean {worst:.4f}")
    assert worst <= 1.03


@pytest.mark.parametrize(
    ("speeds", "counts"), [([3, 1], [30, 10]), ([1, 1], [20, 20]), ([2, 1, 1], [20, 10, 10])]
)
def test_faster_devices_take_more(speeds, counts):
    assert [len(heads) for heads in deal_heads([1.0] * 40, speeds)] == counts


def test_heads_of_one_cost_are_neighbours():
    assert deal_heads([1.0] * 6, [1, 1]) == [[0, 1, 2], [3, 4, 5]]
    assert deal_heads([5, 1, 5, 1], [1, 1]) == [[0, 1], [2, 3]]


def test_one_head_goes_to_the_fastest():
    assert deal_heads([1.0], [1, 2]) == [[], [0]]
