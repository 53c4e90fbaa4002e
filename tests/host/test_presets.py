"""A preset is the same as its inputs set by hand, and 'as set' changes nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch

NAMES = ("draft", "balanced", "paper")


@pytest.fixture(scope="module")
def presets(comfy_modules):
    return comfy_modules.pack("nodes.host.sampling.presets")


@pytest.mark.parametrize("name", NAMES)
def test_it_is_what_its_inputs_would_be(graph, record, presets, name):
    trajectory, triple, _ = record
    by_hand = dataclasses.asdict(presets.PRESETS[name])
    expected = graph.high_res(triple, trajectory=trajectory, **by_hand)
    # What is set besides does not count.
    others = {"order": 1, "derivative": "none", "skip_share": 0.2, "alignment": 0.9, "rope": "ntk"}
    made = graph.high_res(triple, trajectory=trajectory, preset=name, **others)
    assert torch.equal(made, expected)


def test_as_set_leaves_the_inputs(graph, record, presets):
    trajectory, triple, _ = record
    given = {"order": 1, "derivative": "none", "rope": "none"}
    plain = graph.high_res(triple, trajectory=trajectory, **given)
    assert torch.equal(graph.high_res(triple, trajectory=trajectory, preset="as set", **given), plain)
    assert not torch.equal(graph.high_res(triple, trajectory=trajectory, preset="paper", **given), plain)


def test_they_differ_and_balanced_is_the_default(presets):
    assert set(presets.PRESETS) == set(NAMES)
    assert len(set(presets.PRESETS.values())) == len(NAMES)
    assert presets.PRESETS["balanced"] == presets.Method()
