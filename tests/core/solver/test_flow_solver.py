"""The solver is Euler where it says so, and of the order it claims on an exact flow."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_flows import MEAN, VARIANCE, euler_record, gaussian_denoised, solve, start_noise
from torch import Tensor

from s2flow_core.latent.flow import shifted_sigmas
from s2flow_core.solver.derivatives import SOURCES
from s2flow_core.solver.flow_solver import FlowSolver, taylor_step
from s2flow_core.solver.low_res_field import LowResField


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
@pytest.mark.parametrize(
    ("order", "source"), [(1, source) for source in SOURCES] + [(2, "none"), (3, "none")]
)
def test_bit_identical_to_core_euler(order: int, source: str, dtype: torch.dtype):
    sigmas = shifted_sigmas(12, 5.0)
    x = torch.randn(1, 4, 3, 6, 8, generator=torch.Generator().manual_seed(0)).to(dtype)

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        return (0.3 * x - torch.sin(3 * x) * sigma).to(x.dtype)

    solver = FlowSolver(order, source)
    expected, result = x, x
    for i in range(len(sigmas) - 1):
        # comfy/k_diffusion/sampling.py: to_d with append_dims, then x + d * dt.
        direction = (expected - denoiser(expected, sigmas[i])) / sigmas[i][(None,) * expected.ndim]
        expected = expected + direction * (sigmas[i + 1] - sigmas[i])
        result = solver.step(result, denoiser(result, sigmas[i]), sigmas, i)
    assert torch.equal(result, expected) and result.dtype == expected.dtype


def test_taylor_step_is_the_series():
    x, u, first, second = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    h = -0.3
    expected = x + h * u + h**2 / 2 * first + h**3 / 6 * second
    torch.testing.assert_close(taylor_step(x, u, h, first, second), expected)


@pytest.mark.parametrize("source", ["low_res", "blend"])
def test_each_step_upsamples_one_new_estimate(source: str):
    sigmas = shifted_sigmas(30, 3.0, torch.float64)
    record = euler_record(start_noise(), sigmas)
    calls = []
    field = LowResField(sigmas, record, lambda denoised: calls.append(1) or denoised)
    solve(FlowSolver(3, source, field), start_noise(), sigmas)
    assert len(calls) <= 30


def slope_of(order: int, source: str, shift: float, with_record: bool) -> float:
    x = start_noise()
    exact = MEAN + VARIANCE.sqrt() * x
    counts = [40, 80, 160]
    errors = []
    for count in counts:
        sigmas = shifted_sigmas(count, shift, torch.float64)
        field = None
        if with_record:
            field = LowResField(sigmas, euler_record(x, sigmas), lambda denoised: denoised)
        errors.append((solve(FlowSolver(order, source, field), x, sigmas) - exact).norm().item())
    logs = torch.tensor([[math.log(count), math.log(error)] for count, error in zip(counts, errors)])
    centred = logs - logs.mean(0)
    return -(centred[:, 0] @ centred[:, 1] / centred[:, 0].square().sum()).item()


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize(
    ("order", "source", "with_record", "least"),
    [
        (1, "none", False, 0.9),
        (2, "low_res", True, 1.9),
        (2, "history", False, 1.9),
        (2, "blend", False, 1.9),
        (2, "blend", True, 1.9),
        (3, "history", False, 2.7),
        (3, "blend", False, 2.7),
        (3, "blend", True, 2.7),
    ],
)
def test_order_on_an_exact_flow(order: int, source: str, with_record: bool, least: float, shift: float):
    assert slope_of(order, source, shift, with_record) >= least


def test_a_biased_record_costs_low_res_its_order_and_blend_nothing():
    x = start_noise()
    exact = MEAN + VARIANCE.sqrt() * x
    sigmas = shifted_sigmas(80, 3.0, torch.float64)
    record = euler_record(x, sigmas)

    def error(source: str, gain: float) -> float:
        field = LowResField(sigmas, gain * record, lambda denoised: denoised)
        return (solve(FlowSolver(2, source, field), x, sigmas) - exact).norm().item()

    assert error("low_res", 0.5) > 4 * error("low_res", 1.0)
    without = error("blend", 0.0)
    for gain in (-1.0, 0.5, 1.0, 2.0):
        assert error("blend", gain) < 1.1 * without


def test_a_useless_record_leaves_blend_as_it_is_without():
    x, sigmas = start_noise(), shifted_sigmas(20, 3.0, torch.float64)
    constant = LowResField(sigmas, torch.ones(20, 64, 4, dtype=torch.float64), lambda denoised: denoised)
    with_record, without = FlowSolver(3, "blend", constant), FlowSolver(3, "blend")
    torch.testing.assert_close(solve(with_record, x, sigmas), solve(without, x, sigmas))


@settings(max_examples=20)
@given(st.integers(2, 3), st.sampled_from(["history", "blend"]), st.integers(1, 18))
def test_an_expert_switch_restarts_the_history(order: int, source: str, last_high: int):
    sigmas = shifted_sigmas(20, 3.0, torch.float64)
    switch = float(sigmas[last_high])

    def experts(x: Tensor, sigma: Tensor) -> Tensor:
        return gaussian_denoised(x, sigma) + (2.0 if sigma >= switch else 0.0)

    x = start_noise()
    whole = solve(FlowSolver(order, source, switch_sigma=switch), x, sigmas, experts)
    cut = last_high + 1
    high, low = FlowSolver(order, source), FlowSolver(order, source)
    for i in range(20):
        x = (high if i < cut else low).step(x, experts(x, sigmas[i]), sigmas, i)
    torch.testing.assert_close(whole, x, atol=0, rtol=0)


@pytest.mark.parametrize("source", ["low_res", "blend"])
@pytest.mark.parametrize("order", [2, 3])
def test_an_expert_switch_hides_the_other_experts_record(order: int, source: str):
    sigmas = shifted_sigmas(20, 3.0, torch.float64)
    hr_sigmas = shifted_sigmas(17, 3.0, torch.float64)  # falls between recorded steps
    switch, x = 0.6, start_noise()
    record = euler_record(x, sigmas)
    spoiled = record.clone()
    spoiled[sigmas[:-1] < switch] += 100

    def up_to_the_switch(record: Tensor) -> Tensor:
        field = LowResField(sigmas, record, lambda denoised: denoised, switch_sigmas=(switch,))
        solver, state = FlowSolver(order, source, field, switch), x
        for i in range(int((hr_sigmas >= switch).sum())):
            state = solver.step(state, gaussian_denoised(state, hr_sigmas[i]), hr_sigmas, i)
        return state

    assert torch.equal(up_to_the_switch(record), up_to_the_switch(spoiled))


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="order is 4"):
        FlowSolver(4, "history")
    with pytest.raises(ValueError, match="'future'; choose one of none, low_res"):
        FlowSolver(2, "future")
    with pytest.raises(ValueError, match="needs the trajectory"):
        FlowSolver(2, "low_res")
