"""Plans keep their density and cover what they promise; sharing a budget never covers less."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_plans import LARGE, SMALL, plan, random_record
from structured_attention import HEADS, queries_and_keys

from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.attention.window_attention import attention_density
from s2flow_core.plan.policies import POLICIES, plan_windows, step_weights
from s2flow_core.plan.window_plan import WindowPlan
from s2flow_core.reach.measure import measure_reach
from s2flow_core.reach.output_error import measure_reach_and_error
from s2flow_core.reach.record import AttentionReach
from s2flow_core.reach.rows import sample_query_rows
from s2flow_core.windows.extents import axis_shares, candidate_extents, extent_densities, extent_shares
from s2flow_core.windows.grid import TokenGrid

grids = st.sampled_from([LARGE, TokenGrid((5, 16, 16), (2, 4, 4)), TokenGrid((5, 14, 18), (1, 4, 4))])

densities = st.sampled_from([0.05, 0.1, 0.25, 0.4, 0.5, 0.75, 0.9, 1.0])

policies_of_a_step = st.sampled_from([policy for policy in POLICIES if policy != "error_run"])


def least_density(grid: TokenGrid) -> float:
    return extent_densities(grid)[0, 0, 0].item()


@given(st.integers(0, 99), grids, densities, policies_of_a_step)
@settings(max_examples=60)
def test_no_step_costs_more_than_was_asked_for(seed, grid, density, policy):
    record = random_record(seed)
    made = plan(record, density, policy, grid)
    allowed = max(density, least_density(grid)) + 1e-9
    assert made.extents.shape == (record.steps, 2, 4, 3)
    assert (made.extents >= 1).all() and (made.extents <= torch.tensor(grid.tiles)).all()
    assert all(made.density_of_step(step) <= allowed for step in range(record.steps))
    assert made.density == pytest.approx(attention_density(grid, made.extents))
    assert ((made.coverage >= 0) & (made.coverage <= 1)).all()
    if density == 1.0:
        assert (made.extents == torch.tensor(grid.tiles)).all() and made.density == pytest.approx(1.0)


@given(st.integers(0, 99), grids, densities)
@settings(max_examples=60)
def test_paper_takes_the_candidate_with_the_greatest_coverage(seed, grid, density):
    record = random_record(seed)
    made = plan(record, density, "paper", grid)
    candidates = candidate_extents(grid.tiles, density, axis_shares(grid))
    best = record.coverage(extent_shares(grid, candidates)).amax(-1)
    assert (made.coverage >= best - 1e-3 - 1e-6).all()  # a tie keeps the previous step's window
    assert torch.allclose(made.coverage[0], best[0], atol=1e-6)
    chosen = {tuple(extent) for extent in made.extents.flatten(0, 2).tolist()}
    assert chosen <= {tuple(extent) for extent in candidates.tolist()}


@given(st.integers(0, 99), grids, densities)
@settings(max_examples=80)
def test_budget_covers_no_less_than_paper_at_no_more_density_in_every_step(seed, grid, density):
    record = random_record(seed)
    paper, budget = (plan(record, density, policy, grid) for policy in ("paper", "budget"))
    for step in range(record.steps):
        assert budget.density_of_step(step) <= paper.density_of_step(step) + 1e-9
        assert budget.coverage[step].double().sum() >= paper.coverage[step].double().sum() - 1e-4


def output_error(made: WindowPlan, record: AttentionReach, step: int) -> float:
    table = record.error_table(step, axis_shares(made.grid)).flatten(2)
    _, height, width = made.grid.tiles
    t, h, w = (made.extents[step].long() - 1).unbind(-1)
    return table.gather(-1, ((t * height + h) * width + w)[..., None]).double().sum().item()


@given(st.integers(0, 99), grids, densities)
@settings(max_examples=40)
def test_error_leaves_no_more_output_error_than_paper_at_no_more_density(seed, grid, density):
    record = random_record(seed)
    paper, weighed = (plan(record, density, policy, grid) for policy in ("paper", "error"))
    for step in range(record.steps):
        assert weighed.density_of_step(step) <= paper.density_of_step(step) + 1e-9
        assert output_error(weighed, record, step) <= output_error(paper, record, step) + 1e-6


SIGMAS = torch.tensor([1.0, 0.9, 0.75, 0.5, 0.2])  # steps of .1, .15, .25, .3, .2


@pytest.mark.parametrize(("first", "taken"), [(2.0, 5), (1.0, 5), (0.75, 3), (0.7, 2), (0.2, 1), (0.1, 0)])
def test_a_step_weighs_as_the_square_of_its_length_and_only_if_it_is_taken(first, taken):
    lengths = torch.tensor([0.1, 0.15, 0.25, 0.3, 0.2], dtype=torch.float64)
    lengths[: 5 - taken] = 0
    torch.testing.assert_close(step_weights(SIGMAS, first), lengths**2, atol=1e-7, rtol=0)


@given(st.integers(0, 99), grids, densities, st.sampled_from([1.0, 0.75, 0.2]))
@settings(max_examples=40, deadline=None)
def test_steps_that_share_leave_less_error_at_the_same_cost_of_the_run(seed, grid, density, first):
    record = random_record(seed, steps=5)
    weights = step_weights(SIGMAS, first)
    taken = [step for step in range(5) if weights[step] > 0]
    plans = {
        policy: plan_windows(record, SIGMAS, grid, density, policy, first_sigma=first)
        for policy in ("paper", "error", "error_run")
    }

    def cost(policy: str) -> float:
        return sum(plans[policy].density_of_step(step) for step in taken)

    def left(policy: str) -> float:
        errors = [float(weights[step]) * output_error(plans[policy], record, step) for step in taken]
        return sum(errors)

    assert cost("error_run") <= cost("paper") + 1e-6
    assert left("error_run") <= left("error") * 1.002 + 1e-6
    for step in set(range(5)) - set(taken):
        assert torch.equal(plans["error_run"].extents[step], plans["error"].extents[step])


def test_a_longer_step_gets_larger_windows():
    record = random_record(3, steps=1)
    twice = record.of_steps(torch.tensor([0, 0]))
    made = plan_windows(twice, torch.tensor([1.0, 0.8]), LARGE, 0.4, "error_run")  # steps of .2 and .8
    assert made.density_of_step(1) > made.density_of_step(0) + 0.05
    assert made.density == pytest.approx(0.4, abs=0.05)


def test_budget_gains_where_heads_differ():
    q, k = queries_and_keys(SMALL.shape)
    mass = measure_reach(q, k, VideoSequence(SMALL, scale=1.0), sample_query_rows(SMALL, 256, 0))
    record = AttentionReach(mass[None, None].half(), SMALL.shape, SMALL.tile)
    for density in (0.25, 0.5):
        gain = (
            plan(record, density, "budget").coverage.mean() - plan(record, density, "paper").coverage.mean()
        )
        assert gain > 0.003


def test_error_policy_works_on_a_measured_record():
    q, k = queries_and_keys(SMALL.shape)
    v = torch.randn(1, len(HEADS), SMALL.tokens, 16) * torch.linspace(0.1, 2.0, len(HEADS))[:, None, None]
    rows = sample_query_rows(SMALL, 128, 0)
    mass = measure_reach(q, k, VideoSequence(SMALL, scale=1.0), rows)[None, None].half()
    error = measure_reach_and_error(q, k, v, VideoSequence(SMALL, scale=1.0), rows).error[None, None].half()
    record = AttentionReach(mass, SMALL.shape, SMALL.tile, error)
    errors = {policy: output_error(plan(record, 0.4, policy), record, 0) for policy in POLICIES}
    assert errors["error"] < errors["budget"] and errors["error"] < errors["paper"]
    assert errors["paper"] < errors["fixed"]


@pytest.mark.parametrize("policy", ["error", "error_run"])
def test_with_a_tail_the_errors_with_a_tail_decide(policy):
    """Half of the heads need a large window only without a tail, the others only with one."""
    record = random_record(3, steps=2, layers=2, heads=4)
    few = torch.linspace(1, 0, record.mass[0, 0, 0].numel()).view(record.mass.shape[3:])
    needs = (few * torch.tensor([1.0, 1.0, 0.01, 0.01])[:, None, None, None]).expand_as(record.mass).half()
    record = replace(record, error=needs, tail_error=needs.flip(2))
    for tail, greedy in ((False, slice(0, 2)), (True, slice(2, 4))):
        made = plan_windows(record, torch.tensor([1.0, 0.5]), SMALL, 0.4, policy, tail)
        sizes = made.extents.float().prod(dim=-1)
        rest = slice(2, 4) if greedy.start == 0 else slice(0, 2)
        assert sizes[:, :, greedy].min() > sizes[:, :, rest].max()
    # What knows nothing of tails, or has tiles of one token, which are their own mean.
    single = replace(record, shape=SMALL.tiles, tile=(1, 1, 1))
    for blind in (replace(record, tail_error=None), single):
        with_tail, without = (
            plan_windows(blind, torch.tensor([1.0, 0.5]), SMALL, 0.4, policy, tail) for tail in (True, False)
        )
        assert torch.equal(with_tail.extents, without.extents)


def test_fixed_is_one_near_cube_for_all():
    made = plan(random_record(0), 0.25, "fixed", TokenGrid((30, 96, 160)))
    assert made.extents.flatten(0, 2).unique(dim=0).tolist() == [[9, 8, 12]]


def test_equal_windows_do_not_flicker_from_step_to_step():
    record = random_record(0, steps=1)
    noise = 1e-4 * torch.randn(6, *record.mass.shape[1:], generator=torch.Generator().manual_seed(1))
    still = AttentionReach((record.mass.float() + noise).clamp(0, 1).half(), record.shape, record.tile)
    extents = plan(still, 0.3).extents
    assert (extents == extents[:1]).all()


def test_a_plan_for_the_papers_size_takes_seconds():
    """60 layers of 24 heads on 15x12x20 tiles; two steps stand for fifty."""
    lr, hr = TokenGrid((30, 48, 80)), TokenGrid((30, 96, 160))
    record = random_record(0, lr, steps=2, layers=60, heads=24)
    paper, budget = (plan(record, 0.25, policy, hr) for policy in ("paper", "budget"))
    assert budget.coverage.mean() > paper.coverage.mean()
    assert 0.2 < budget.density <= paper.density + 1e-9 <= 0.25


def test_bad_requests_are_refused_in_words():
    record = random_record(0)
    with pytest.raises(ValueError, match=r"share of the video.*got 0"):
        plan(record, 0.0)
    with pytest.raises(ValueError, match="no window policy 'cube'"):
        plan(record, 0.5, "cube")
    with pytest.raises(ValueError, match="3 steps, but 2 sigmas"):
        plan_windows(record, torch.tensor([1.0, 0.5]), LARGE, 0.5)
    without_error = AttentionReach(record.mass, record.shape, record.tile)
    with pytest.raises(ValueError, match="no record of output errors"):
        plan(without_error, 0.5, "error")
