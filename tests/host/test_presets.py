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


@pytest.mark.parametrize(
    ("preset", "changed", "told"),
    [
        ("draft", {"skip_share": 0.2, "order": 2}, "order 2, skip_share 0.2"),
        ("draft", {"skip_share": 0.35}, ""),  # what it sets itself
        ("paper", {}, ""),
        ("as set", {"skip_share": 0.2}, ""),
    ],
)
def test_inputs_that_it_goes_before_are_told(presets, caplog, preset, changed, told):
    presets.method_of(preset, presets.Method(**changed))
    assert ("are not used" in caplog.text) is bool(told)
    assert told in caplog.text


@pytest.mark.parametrize(
    ("preset", "way_back"), [("draft", "set preset to 'as set'"), ("as set", "set skip_share to 0.")]
)
def test_an_error_says_where_an_input_comes_from(graph, record, preset, way_back):
    _, triple, _ = record
    by_hand = {} if preset == "draft" else {"skip_share": 0.2}
    with pytest.raises(ValueError, match=f"needs the trajectory .*{way_back}"):
        graph.high_res(triple, preset=preset, **by_hand)


def test_a_share_that_t_i_goes_before_is_told(graph, record, caplog):
    trajectory, *_ = record
    graph.upsample(trajectory, t_i=2)
    graph.upsample(trajectory, t_i=0, share=0.4)
    assert "is not used" not in caplog.text
    graph.upsample(trajectory, t_i=2, share=0.4)
    assert "t_i is 2, so share 0.4 is not used" in caplog.text
