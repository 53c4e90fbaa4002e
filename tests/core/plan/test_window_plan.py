"""A plan is looked up by sigma, and says what it costs and keeps."""

from __future__ import annotations

import pytest
import torch
from random_plans import LARGE, plan, random_record

from s2flow_core.plan.window_plan import WindowPlan
from s2flow_core.windows.grid import TokenGrid


def test_sigma_finds_the_nearest_recorded_step():
    made = plan(random_record(0, steps=4), 0.5)  # sigmas 1.0, 0.7, 0.4, 0.1
    assert [made.step_at(s) for s in (1.0, 0.86, 0.84, 0.4, 0.26, 0.1, 0.06)] == [0, 0, 1, 2, 2, 3, 3]
    assert made.step_at(1.14) == 0
    assert made.step_at(1.2) is None and made.step_at(0.04) is None
    assert plan(random_record(0, steps=1), 0.5).step_at(1.0) == 0
    assert made.extents_at(2, 1).shape == (4, 3)


def test_the_report_says_what_was_asked_and_what_is_done():
    made = plan(random_record(0), 0.5)
    text = made.report()
    assert "50.0% was asked for" in text and f"{made.density:.1%} of the video" in text
    assert f"{made.coverage.mean():.1%}" in text and f"keeps {made.coverage.min():.1%}" in text
    assert "in tiles of 5×4×4" in text
    assert f"computes {made.density:.1%} of dense attention" in text  # every tile is full


def test_density_is_the_mean_share_of_keys_partial_tiles_included():
    grid = TokenGrid((1, 4, 6), (1, 4, 4))  # two tiles, of 16 and of 8 tokens
    extents = torch.tensor([[[[1, 1, 1], [1, 1, 2]]], [[[1, 1, 2], [1, 1, 2]]]])  # (2, 1, 2, 3)
    made = WindowPlan(torch.tensor([1.0, 0.5]), grid, extents.int(), torch.ones(2, 1, 2), "paper", 0.5)
    alone = (16 * 16 + 8 * 8) / 24**2
    assert made.density_of_step(0) == pytest.approx((alone + 1) / 2)
    assert made.density_of_step(1) == pytest.approx(1)
    assert made.density == pytest.approx((alone + 3) / 4)
    assert made.extents_at(0, 0).tolist() == [[1, 1, 1], [1, 1, 2]]


def test_the_report_names_the_head_that_loses_most_and_the_shapes_most_used():
    coverage = torch.full((2, 2, 2), 0.8)
    coverage[1, 0, 1] = 0.3
    extents = torch.tensor([1, 2, 2]).repeat(2, 2, 2, 1)
    extents[0, 0, 0] = torch.tensor([1, 1, 1])
    made = WindowPlan(torch.tensor([1.0, 0.5]), LARGE, extents.int(), coverage, "error", 0.25)
    text = made.report()
    assert "policy 'error'" in text and "25.0% was asked for" in text
    assert "keeps 30.0% (step 2 of 2, layer 1, head 2)" in text
    assert "1×2×2 (88%), 1×1×1 (12%)" in text
