"""The benchmark's flow is exact, its tables say what they claim, and --check fails when one is amiss."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.common.tables import Table
from benchmarks.solver import __main__ as solver_main
from benchmarks.solver import cascade, orders, tables
from benchmarks.solver.exact_flow import SIDE, MixtureFlow, block_average, picture_flow
from benchmarks.solver.exact_runs import dpmpp_2m, euler_record, solve
from s2flow_core.latent.flow import shifted_sigmas
from s2flow_core.solver.flow_solver import FlowSolver

FLOW = picture_flow()
LOW = FLOW.block_mean(2)


def noise(count: int, cells: int = SIDE**2) -> torch.Tensor:
    return torch.randn(count, cells, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def posterior_mean(flow: MixtureFlow, x: torch.Tensor, sigma: float) -> torch.Tensor:
    """E[data | x] mode by mode with dense matrices."""
    clean = 1 - sigma
    spread = clean**2 * flow.covariance + sigma**2 * torch.eye(x.shape[1], dtype=torch.float64)
    estimates, likelihoods = [], []
    for mean in flow.means:
        offset = x - clean * mean
        solved = torch.linalg.solve(spread, offset.T).T
        estimates.append(mean + clean * solved @ flow.covariance)
        likelihoods.append(-0.5 * (offset * solved).sum(1))
    weights = torch.softmax(torch.stack(likelihoods), 0)  # (modes, n)
    return (weights[..., None] * torch.stack(estimates)).sum(0)


@given(st.floats(0.01, 1.0), st.sampled_from(["HR", "LR"]))
@settings(max_examples=20)
def test_velocity_is_the_closed_form(sigma: float, size: str):
    flow = FLOW if size == "HR" else LOW
    x = noise(5, flow.means.shape[1])
    torch.testing.assert_close(flow.denoised(x, sigma), posterior_mean(flow, x, sigma), atol=1e-9, rtol=1e-9)


def test_velocity_is_finite_at_the_end():
    x = noise(5)
    torch.testing.assert_close(FLOW.velocity(x, 0.0), FLOW.velocity(x, 1e-9), atol=1e-6, rtol=0)


def test_low_resolution_flow_belongs_to_the_block_means():
    average = block_average(SIDE, 2)
    picture = torch.arange(SIDE**2, dtype=torch.float64)
    expected = torch.nn.functional.avg_pool2d(picture.reshape(1, 1, SIDE, SIDE), 2).flatten()
    torch.testing.assert_close(average @ picture, expected)
    torch.testing.assert_close(LOW.means, FLOW.means @ average.T)
    torch.testing.assert_close(LOW.covariance, average @ FLOW.covariance @ average.T)


def test_reference_has_converged():
    coarse, fine = (FLOW.reference(noise(4), shifted_sigmas(n, 3.0, torch.float64)) for n in (400, 800))
    torch.testing.assert_close(coarse, fine, atol=1e-7, rtol=0)


def test_every_run_approaches_the_reference():
    sigmas, x = shifted_sigmas(200, 3.0, torch.float64), noise(4)
    exact = FLOW.reference(x, shifted_sigmas(400, 3.0, torch.float64))
    scale = exact.norm()
    states, record = euler_record(FLOW, x, sigmas)
    assert torch.equal(states[0], x) and len(record) == 200
    # Euler's last state is its last clean estimate.
    assert (record[-1] - exact).norm() < 0.02 * scale
    assert (dpmpp_2m(FLOW, x, sigmas) - exact).norm() < 0.005 * scale
    assert (solve(FLOW, x, sigmas, FlowSolver(3, "history")) - exact).norm() < 1e-4 * scale


def test_grids_run_from_1_to_0():
    for grid in orders.GRIDS.values():
        sigmas = grid(10)
        assert len(sigmas) == 11 and sigmas[0] == 1 and sigmas[-1] == 0
        assert (sigmas.diff() < 0).all()


def test_slope_of_a_power_law():
    assert orders.fitted_slope((10, 80, 320), [1.0, 80**-2.5, 320**-2.5]) == pytest.approx(2.5)


def test_the_paper_term_is_of_order_2_when_lr_is_hr_and_of_order_1_at_half_size():
    x = noise(8)
    exact = FLOW.reference(x, shifted_sigmas(400, 3.0, torch.float64))
    same, half = (
        tables.rows_of(orders.order_table(FLOW, low, x, exact, "shift 1", (80, 160))) for low in (None, LOW)
    )
    assert same["order 2 low_res"][-1] > 1.9 and same["order 3 history"][-1] > 2.7
    assert half["order 2 low_res"][-1] < 1.2 and half["order 2 blend"][-1] > 1.9
    assert half["Euler"] == same["Euler"]


def test_wrong_records_do_not_help(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(orders, "CONTROL_STEPS", (20,))
    x = noise(8)
    exact = FLOW.reference(x, shifted_sigmas(400, 3.0, torch.float64))
    table = orders.control_table(FLOW, None, x, exact)
    assert tables.control_problems([table]) == []
    right = tables.rows_of(table)["gain 1"]
    assert right[0] < 0.6


def test_cascade_tables(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cascade, "HR_STEPS", (9,))
    monkeypatch.setattr(cascade, "REFERENCE_STEPS", 400)
    methods, skips = cascade.cascade_tables(FLOW, LOW, noise(8), (3.0,))
    assert tables.default_problems(methods) == [] and tables.skip_problems(skips) == []
    assert cascade.calls_when_skipping(9) == 6


def test_transition_starts_at_the_lr_state():
    case = cascade.make_transition(LOW, noise(4), 9, 3.0)
    assert case.steps == 9 and len(case.low_record) == 15
    assert torch.equal(case.low_sigmas[-10:], case.sigmas)


def test_problems_are_sentences_that_name_the_case():
    methods = Table("After", ["method", "s3 N=6"], [[tables.DEFAULT, 0.2], ["Euler", 0.1], ["dpmpp_2m", 0.3]])
    assert tables.default_problems(methods) == ["After, s3 N=6: the default has error 0.2, Euler 0.1."]
    rows = [["Euler, all steps", 0.1], ["all steps", 0.05], ["forecast blend", 0.2]]
    assert "skipping adds 0.15" in tables.skip_problems(Table("Skip", ["run", "s3 N=6"], rows))[0]
    controls = Table("Controls", ["record", "low_res N=20"], [[name, 0.9] for name in tables.WRONG])
    assert len(tables.control_problems([controls])) == len(tables.WRONG)
    orders = Table("Orders", ["method", "slope"], [[name, 1.0] for name in tables.LEAST_SLOPES])
    assert len(tables.slope_problems([orders])) == len(tables.LEAST_SLOPES)


@pytest.mark.parametrize("problems", [[], ["one thing."]])
@pytest.mark.parametrize("check", [False, True])
def test_command_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    check: bool,
    problems: list[str],
):
    table = Table("A table", ["row", "value"], [["first", 0.123456], ["second", 1e-5]])
    monkeypatch.setattr(solver_main, "measure", lambda quick: ([table], problems))
    file = tmp_path / "tables.json"
    monkeypatch.setattr(
        sys, "argv", ["solver", "--quick", "--json", str(file), *(["--check"] if check else [])]
    )
    assert solver_main.main() == int(check and bool(problems))
    printed = capsys.readouterr().out
    assert "A table" in printed and "0.123" in printed and "1.00e-05" in printed
    assert all(f"falls short: {problem}" in printed for problem in problems)
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert kept["tables"][0]["title"] == "Where"
    assert kept["tables"][-1]["rows"] == table.rows and kept["fell_short"] == problems


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="has 2 columns, the row has 3"):
        Table("A table", ["row", "value"]).add("first", 1.0, 2.0)
