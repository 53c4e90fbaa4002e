"""The slope of cost against tokens, and the price of `auto`."""

from __future__ import annotations

import pytest
import torch

from benchmarks.attention import linearity, price_of_auto
from benchmarks.attention.linearity import linearity_table, slope
from benchmarks.attention.price_of_auto import auto_price_table


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5, 2.0])
def test_the_slope_is_the_power(power: float):
    sizes = [4096, 8192, 16384, 32768]
    assert slope(sizes, [3e-6 * size**power for size in sizes]) == pytest.approx(power, abs=1e-9)


def test_what_grows_faster_than_the_tokens_is_told(monkeypatch):
    costs = {"dense": 2.0, "torch_boxes": 1.3}
    monkeypatch.setattr(
        linearity,
        "measured",
        lambda frames, device, rounds: {name: frames**power for name, power in costs.items()},
    )
    table, problems = linearity_table("cpu")
    assert [row[0] for row in table.rows] == list(costs)
    assert [row[-1] for row in table.rows] == pytest.approx(list(costs.values()))
    assert problems == ["torch_boxes grows with the power 1.30 of the tokens, more than 1.1."]


def test_every_backend_of_this_machine_is_measured(monkeypatch):
    monkeypatch.setitem(linearity.SIDES, "cpu", (16, 16))
    with torch.inference_mode():
        assert set(linearity.measured(4, "cpu", rounds=1)) == {"dense", "torch_boxes"}


def test_a_later_process_measures_nothing(monkeypatch):
    from s2flow_core.attention import choice

    asked = []
    monkeypatch.setattr(choice, "rate", lambda computes, call: asked.append(computes.name) or 1e11)
    monkeypatch.setattr(price_of_auto, "STEPS", 2)
    table, problems = auto_price_table("cpu")
    kinds = len(price_of_auto.GRIDS) * len(price_of_auto.DENSITIES) * len(price_of_auto.TAILS)
    assert table.title.startswith(f"Price of auto, {kinds} kinds") and problems == []
    # One speed of dense, and one of boxes for each tile, with tail and without; none of them twice.
    assert asked.count("dense") == 1 and 1 < len(asked) < kinds
    monkeypatch.setattr(price_of_auto, "MOST_LATER", -1.0)
    assert "in a later process" in auto_price_table("cpu")[1][0]
