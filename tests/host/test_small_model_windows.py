"""Windows on the attention that the shipped small model really has."""

from __future__ import annotations

import pytest
import torch
from tiny_wan import SeededNoise, wan_graph

LATENT = torch.zeros(1, 16, 5, 16, 16)
TOKENS = 5 * 8 * 8
STEPS = 4


@pytest.fixture(scope="module")
def graph(comfy_modules):
    models = comfy_modules.pack("demo.generate").load_models()
    return wan_graph(comfy_modules, model=models.model)


def recorded(graph, rows: int):
    sigmas = graph.modules.pack("demo.generate").schedule(graph.guider.model_patcher, STEPS)
    _, trajectory = graph.low_res(
        noise=SeededNoise(5), sigmas=sigmas, latent_image={"samples": LATENT}, capture_rows=rows
    )
    return trajectory


@pytest.fixture(scope="module")
def sampled(graph):
    return recorded(graph, 256)


def test_coverage_from_256_rows_is_that_of_all_rows(graph, sampled):
    exact = recorded(graph, TOKENS)
    assert (sampled.reach.mass.float() - exact.reach.mass.float()).abs().mean() <= 0.02


@pytest.mark.parametrize("s", [0.1, 0.25, 0.5, 0.75])
def test_budget_covers_at_least_what_paper_covers_at_no_more_density(graph, sampled, s):
    large = {"samples": torch.zeros(1, 16, 5, 32, 32)}
    paper = graph.windows(sampled, large, s, "paper")
    budget = graph.windows(sampled, large, s, "budget")
    for step in range(STEPS):
        assert budget.coverage[step].mean() >= paper.coverage[step].mean() - 1e-4
        assert budget.density_of_step(step) <= paper.density_of_step(step) + 1e-6


def test_heads_of_a_trained_model_choose_different_windows(graph, sampled):
    large = {"samples": torch.zeros(1, 16, 5, 32, 32)}
    plan = graph.windows(sampled, large, 0.25, "paper")
    assert len({tuple(extent) for extent in plan.extents.flatten(0, 2).tolist()}) > 1
    assert plan.coverage.mean() > plan.density
