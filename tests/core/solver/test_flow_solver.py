"""The solver is Euler where it says so, exact on polynomials, and of the order it claims on an exact flow."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from s2flow_core.latent.flow import shifted_sigmas, snr_matched_sigma
from s2flow_core.solver.derivatives import SOURCES, BlendDerivative, LowResDerivative, Node, StepView
from s2flow_core.solver.flow_solver import FlowSolver, taylor_step
from s2flow_core.solver.low_res_field import LowResField
from s2flow_core.solver.stencils import combine, derivative_weights, value_weights

MEAN, VARIANCE = 0.7, torch.tensor([0.2, 0.5, 1.0, 3.0], dtype=torch.float64)

spread_nodes = st.lists(st.integers(0, 40), min_size=3, max_size=3, unique=True).map(
    lambda picks: [0.1 + 0.02 * pick for pick in picks]
)


def gaussian_denoised(x: Tensor, sigma: Tensor | float) -> Tensor:
    """Exact D of Gaussian data; its flow ends at MEAN + √VARIANCE · noise."""
    clean = 1 - sigma
    gain = clean * VARIANCE / (clean**2 * VARIANCE + sigma**2)
    return MEAN + gain * (x - clean * MEAN)


def start_noise() -> Tensor:
    return torch.randn(64, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def solve(solver: FlowSolver, x: Tensor, sigmas: Tensor, denoiser=gaussian_denoised) -> Tensor:
    for i in range(len(sigmas) - 1):
        x = solver.step(x, denoiser(x, sigmas[i]), sigmas, i)
    return x


def euler_record(x: Tensor, sigmas: Tensor, denoiser=gaussian_denoised) -> Tensor:
    """(N, ...) clean estimates that an Euler run meets."""
    record = []
    for sigma, after in itertools.pairwise(sigmas):
        record.append(denoiser(x, sigma))
        x = x + (x - record[-1]) / sigma * (after - sigma)
    return torch.stack(record)


def record_of(velocity, sigmas: Tensor) -> Tensor:
    """Clean estimates (N, 1, 2) of an Euler run whose velocity is a known function of σ."""
    values = [0.0]
    for before, after in itertools.pairwise(sigmas[:-1].tolist()):
        values.append(values[-1] - after * (velocity(after) - velocity(before)))
    return torch.tensor(values, dtype=torch.float64)[:, None, None].expand(-1, 1, 2)


def field_of(velocity, sigmas: Tensor, **options) -> LowResField:
    """A record whose velocity is a known function of σ."""
    return LowResField(sigmas, record_of(velocity, sigmas), lambda denoised: denoised, **options)


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


@given(spread_nodes, st.tuples(*[st.floats(-3, 3)] * 3))
def test_stencils_are_exact_on_quadratics(nodes: list[float], c: tuple[float, float, float]):
    at = nodes[0]
    first, second = derivative_weights(nodes, at)
    values = [torch.tensor(c[0] + c[1] * s + c[2] * s * s, dtype=torch.float64) for s in nodes]
    assert combine(first, values).item() == pytest.approx(c[1] + 2 * c[2] * at, abs=1e-8)
    assert combine(second, values).item() == pytest.approx(2 * c[2], abs=1e-6)
    middle = sum(nodes) / 3
    expected = c[0] + c[1] * middle + c[2] * middle**2
    assert combine(value_weights(nodes, middle), values).item() == pytest.approx(expected, abs=1e-8)


@given(st.floats(0.01, 0.3), st.floats(0.01, 0.3))
def test_stencils_are_the_published_formulas(behind: float, ahead: float):
    h1, h2 = -behind, -ahead  # σ falls
    sigma = 0.5
    first, second = derivative_weights([sigma - h1, sigma, sigma + h2], sigma)
    assert first == pytest.approx([-h2 / (h1 * (h1 + h2)), (h2 - h1) / (h1 * h2), h1 / (h2 * (h1 + h2))])
    product = h1 * h2 * (h1 + h2)
    assert second == pytest.approx([2 * h2 / product, -2 * (h1 + h2) / product, 2 * h1 / product])
    backward, _ = derivative_weights([sigma, sigma - h1, sigma - h1 - h2], sigma)
    expected = [(2 * h1 + h2) / (h1 * (h1 + h2)), -(h1 + h2) / (h1 * h2), h1 / (h2 * (h1 + h2))]
    assert backward == pytest.approx(expected)
    wide, none = derivative_weights([sigma - h1, sigma + h2], sigma)
    assert wide == pytest.approx([-1 / (h1 + h2), 1 / (h1 + h2)]) and none == [0, 0]


def test_taylor_step_is_the_series():
    x, u, first, second = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    h = -0.3
    expected = x + h * u + h**2 / 2 * first + h**3 / 6 * second
    torch.testing.assert_close(taylor_step(x, u, h, first, second), expected)


def test_record_gives_back_the_velocities_of_an_euler_run():
    sigmas, x = shifted_sigmas(12, 3.0, torch.float64), start_noise()
    velocities, denoised = [], []
    for sigma, after in itertools.pairwise(sigmas):
        denoised.append(gaussian_denoised(x, sigma))
        velocities.append((x - denoised[-1]) / sigma)
        x = x + velocities[-1] * (after - sigma)
    field = LowResField(sigmas, torch.stack(denoised), lambda difference: difference)
    for i in (4, 5, 3, 11, 0):  # in no order at all
        seen = field.velocity_at(float(sigmas[i])) - field.velocity_at(float(sigmas[4]))
        torch.testing.assert_close(seen, velocities[i] - velocities[4])


@pytest.mark.parametrize("snr_scale", [1.0, 2.0])
def test_field_derivatives_are_exact_for_a_quadratic_velocity(snr_scale: float):
    low = shifted_sigmas(12, 3.0, torch.float64)
    high = snr_matched_sigma(low, snr_scale)
    record = record_of(lambda s: 1 + 2 * s - 3 * s * s, high)  # in HR σ, which the record does not hold
    field = LowResField(low, record, lambda denoised: denoised, snr_scale=snr_scale)
    sigma = float(high[5])
    first, second = field.derivatives(high[4:7].tolist(), sigma)
    torch.testing.assert_close(first, torch.full((1, 2), 2 - 6 * sigma, dtype=torch.float64))
    torch.testing.assert_close(second, torch.full((1, 2), -6.0, dtype=torch.float64))


@given(st.floats(0.06, 1.0), st.floats(0.06, 1.0))
def test_field_interpolates_between_recorded_steps(a: float, b: float):
    field = field_of(lambda s: 1 - s + s**3, torch.linspace(1, 0, 21, dtype=torch.float64))
    difference = (field.velocity_at(a) - field.velocity_at(b))[0, 0].item()
    assert difference == pytest.approx(a**3 - a - b**3 + b, abs=1e-4)


def test_field_covers_what_was_recorded_and_no_more():
    field = field_of(lambda s: s, shifted_sigmas(10, 1.0, torch.float64))
    assert field.usable(1.0, 0.5) and field.usable(0.1, 0.5)
    assert not field.usable(0.0, 0.1) and not field.usable(0.05, 0.1)
    assert field.sigma_before(0.5) == pytest.approx(0.6)
    assert field.sigma_before(0.55) == pytest.approx(0.6)
    assert field.sigma_before(1.0) is None


def test_field_refuses_a_record_of_another_length():
    with pytest.raises(ValueError, match="3 estimates but 6 sigmas"):
        LowResField(shifted_sigmas(5, 1.0), torch.zeros(3, 1, 2), lambda denoised: denoised)


@pytest.mark.parametrize("source", ["low_res", "blend"])
def test_each_step_upsamples_one_new_estimate(source: str):
    sigmas = shifted_sigmas(30, 3.0, torch.float64)
    record = euler_record(start_noise(), sigmas)
    calls = []
    field = LowResField(sigmas, record, lambda denoised: calls.append(1) or denoised)
    solve(FlowSolver(3, source, field), start_noise(), sigmas)
    assert len(calls) <= 30


def view_at(i: int, sigmas: Tensor, steps: int = 30) -> StepView:
    nodes = [Node(float(s), torch.zeros(1, 2, dtype=torch.float64)) for s in sigmas]
    return StepView(nodes[i], nodes[max(0, i - 2) : i][::-1], nodes[i + 1].sigma, True, steps)


def test_low_res_derivative_at_the_ends_and_with_few_steps():
    sigmas = shifted_sigmas(8, 3.0, torch.float64)
    grid = sigmas.tolist()
    source = LowResDerivative(field_of(lambda s: s * s, sigmas))

    def slope(a: int, b: int) -> float:
        return grid[a] + grid[b]  # of σ² between two nodes

    def first_of(view: StepView) -> float:
        first, second = source.derivatives(view, 2)
        assert first is not None and second is None
        return first[0, 0].item()

    assert first_of(view_at(0, sigmas)) == pytest.approx(slope(0, 1))  # forward
    assert first_of(view_at(3, sigmas)) == pytest.approx(2 * grid[3])  # central
    assert first_of(view_at(3, sigmas, steps=8)) == pytest.approx(slope(2, 4))  # wide
    assert source.derivatives(view_at(7, sigmas), 2) == (None, None)  # the last step is Euler
    # An HR run that starts in the middle finds its predecessor in the record.
    alone = StepView(Node(grid[3], torch.zeros(1, 2)), (), grid[4], True, 30)
    assert first_of(alone) == pytest.approx(2 * grid[3])


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


@pytest.mark.parametrize(
    ("last_length", "length", "share"),
    [(0.1, 0.1, 1.0), (0.01, 0.15, 1.0), (0.2, 0.4, 1.0), (0.1, 0.4, 0.25), (0.2, 0.8, 0.25)],
)
def test_blend_trusts_its_history_over_a_limited_length(last_length: float, length: float, share: float):
    here, before = (Node(s, torch.full((1, 2), s)) for s in (length, length + last_length))
    first, _ = BlendDerivative().derivatives(StepView(here, [before], 0.0, True, 8), 2)
    assert first is not None and first[0, 0].item() == pytest.approx(share, rel=1e-4)


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
