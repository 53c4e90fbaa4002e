"""The pack's real case on the exact flow: a change of size in mid-flow, then a few HR steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.common.tables import Table
from benchmarks.solver.exact_flow import SIDE, MixtureFlow, block_average
from benchmarks.solver.exact_runs import (
    METHODS,
    REFERENCE_STEPS,
    SCALE,
    bicubic,
    coarse,
    dpmpp_2m,
    error,
    euler_record,
    method_name,
    solve,
)
from s2flow_core.latent.flow import noise_estimate, renoise, snr_matched_sigma
from s2flow_core.solver.derivatives import Node
from s2flow_core.solver.flow_solver import FlowSolver
from s2flow_core.solver.low_res_field import LowResField
from s2flow_core.solver.skipping import choose_skips, forecast_velocity, step_changes

HR_STEPS = (6, 10, 15, 30)
HR_TIME = 0.6  # HR runs the last 60 % of the schedule, as in the paper's 30 of 50 steps
SKIPPED = 1 / 3


@dataclass(frozen=True)
class Transition:
    """An HR start that was made from an LR run."""

    start: Tensor  # (n, cells)
    sigmas: Tensor  # (steps+1,), of the HR run
    low_sigmas: Tensor
    low_record: Tensor  # (LR steps, n, LR cells)

    @property
    def steps(self) -> int:
        """Number of HR steps."""
        return len(self.sigmas) - 1

    def field(self) -> LowResField:
        """The LR record for a new run."""
        return LowResField(self.low_sigmas, self.low_record, bicubic)


def tail(steps: int, shift: float) -> Tensor:
    """sigma of an HR run over the last HR_TIME of the schedule."""
    return snr_matched_sigma(torch.linspace(HR_TIME, 0, steps + 1, dtype=torch.float64), shift)


def make_transition(low: MixtureFlow, noise: Tensor, steps: int, shift: float) -> Transition:
    """Run LR over the whole schedule and start HR from its step at HR_TIME, as the pack's nodes do."""
    before = round(steps / HR_TIME) - steps
    first = snr_matched_sigma(torch.linspace(1, HR_TIME, before + 1, dtype=torch.float64), shift)
    sigmas = torch.cat([first[:-1], tail(steps, shift)])
    states, record = euler_record(low, coarse(noise), sigmas)
    sigma = float(sigmas[before])
    low_noise = noise_estimate(states[before], record[before], sigma)
    # s2flow_core.noise.lr_consistent_noise for pictures without channels: eps + P^T(n_LR - P·eps).
    average = SCALE * block_average(SIDE, SCALE)
    hr_noise = noise + (low_noise - noise @ average.T) @ average
    return Transition(renoise(bicubic(record[before]), hr_noise, sigma), sigmas[before:], sigmas, record)


def skip_calls(flow: MixtureFlow, case: Transition, method: str) -> Tensor:
    """A run whose velocity is forecast at the steps that the LR record calls quiet."""
    skip = choose_skips(step_changes(case.low_sigmas, case.low_record)[-case.steps :], SKIPPED)
    field, solver, past, x = case.field(), FlowSolver(3, "blend", case.field()), [], case.start
    for i in range(case.steps):
        sigma = float(case.sigmas[i])
        if skip[i]:
            denoised = x - sigma * forecast_velocity(past, sigma, field, method)
        else:
            denoised = flow.denoised(x, sigma)
            past = [Node(sigma, (x - denoised) / sigma), *past[:1]]
        x = solver.step(x, denoised, case.sigmas, i)
    return x


def calls_when_skipping(steps: int) -> int:
    """Model calls that `skip_calls` makes in a run of so many steps."""
    return steps - int(choose_skips(torch.ones(steps), SKIPPED).sum())


def cascade_tables(
    flow: MixtureFlow, low: MixtureFlow, noise: Tensor, shifts: tuple[float, ...]
) -> tuple[Table, Table]:
    """Errors of all methods at equal model calls, and of runs that skip a third of the calls."""
    columns = [f"s{shift:g} N={n}" for shift in shifts for n in HR_STEPS]
    note = "s: shift of the schedule; N: HR steps."
    methods = Table(
        "After the transition from half size: equal HR model calls", ["method", *columns], note=note
    )
    skips = Table(
        "A third of the HR model calls left out (order 3 blend)",
        ["run", *columns],
        note="The last three make equally many calls; 'fewer steps' spends them on a coarser schedule.",
    )
    cells: dict[str, list[float]] = {}
    for shift in shifts:
        cases = [make_transition(low, noise, n, shift) for n in HR_STEPS]
        starts = torch.cat([case.start for case in cases])
        exact = flow.reference(starts, tail(REFERENCE_STEPS, shift)).chunk(len(cases))
        for case, target in zip(cases, exact):
            runs = {
                method_name(order, source): solve(
                    flow, case.start, case.sigmas, FlowSolver(order, source, case.field())
                )
                for order, source in METHODS
            }
            runs["dpmpp_2m"] = dpmpp_2m(flow, case.start, case.sigmas)
            coarser = tail(calls_when_skipping(case.steps), shift)
            runs["fewer steps"] = solve(flow, case.start, coarser, FlowSolver(3, "blend", case.field()))
            for method in ("low_res", "blend"):
                runs[f"forecast {method}"] = skip_calls(flow, case, method)
            for name, x in runs.items():
                cells.setdefault(name, []).append(error(x, target))
    for name in [method_name(order, source) for order, source in METHODS] + ["dpmpp_2m"]:
        methods.add(name, *cells[name])
    skips.add("Euler, all steps", *cells["Euler"])
    skips.add("all steps", *cells["order 3 blend"])
    for name in ("fewer steps", "forecast low_res", "forecast blend"):
        skips.add(name, *cells[name])
    return methods, skips
