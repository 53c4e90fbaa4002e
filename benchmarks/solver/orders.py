"""Over the whole schedule: the order of every derivative source, and whether the LR record is what helps."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.common.tables import Table
from benchmarks.solver.exact_flow import MixtureFlow, picture_flow
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
    same_size,
    solve,
)
from s2flow_core.latent.flow import shifted_sigmas, snr_matched_sigma
from s2flow_core.solver.flow_solver import FlowSolver
from s2flow_core.solver.low_res_field import LowResField

FITTED_FROM = 80  # below, a slope says more about the data than about the method
CONTROL_STEPS = (20, 40, 80)
CONTROL_SHIFT = 3.0
GAINS = (0.0, 0.5, 1.0, 1.5)
CONTROLLED = ("low_res", "blend")
WRONG = ("sign flipped", "time shuffled", "other prompt")

Grid = Callable[[int], Tensor]


def shifted(shift: float) -> Grid:
    """Schedule of a flow model, by number of steps."""
    return partial(shifted_sigmas, shift=shift, dtype=torch.float64)


def irregular(steps: int) -> Tensor:
    """Steps in turn of length 2 and 1, then shift 3; for an even number of steps."""
    lengths = torch.tensor([2.0, 1.0], dtype=torch.float64).repeat(steps // 2)
    left = lengths.flip(0).cumsum(0).flip(0) / lengths.sum()
    return snr_matched_sigma(torch.cat([left, left.new_zeros(1)]), 3.0)


GRIDS = {"shift 1": shifted(1.0), "shift 7": shifted(7.0), "irregular": irregular}


def exact_solution(flow: MixtureFlow, noise: Tensor) -> Tensor:
    """Where pure noise ends."""
    return flow.reference(noise, shifted_sigmas(REFERENCE_STEPS, 3.0, torch.float64))


def fitted_slope(counts: tuple[int, ...], errors: list[float]) -> float:
    """Order of convergence by least squares over the larger step counts."""
    points = [(math.log(n), math.log(e)) for n, e in zip(counts, errors) if n >= FITTED_FROM]
    x, y = torch.tensor(points, dtype=torch.float64).T
    x = x - x.mean()
    return -(x @ y / (x @ x)).item()


def order_table(
    flow: MixtureFlow,
    low: MixtureFlow | None,
    noise: Tensor,
    exact: Tensor,
    name: str,
    counts: tuple[int, ...],
) -> Table:
    """Error against steps on one grid; the record comes from `low`, or at full size from `flow` itself."""
    size = "half-size LR" if low else "LR = HR"
    table = Table(f"{size}, {name}", ["method", *(f"N={n}" for n in counts), "slope"])
    grids = {n: GRIDS[name](n) for n in counts}
    records = {}
    for n, sigmas in grids.items():
        maker, start = (low, coarse(noise)) if low else (flow, noise)
        records[n] = euler_record(maker, start, sigmas)[1]
    for order, source in METHODS:
        errors = []
        for n, sigmas in grids.items():
            field = LowResField(sigmas, records[n], bicubic if low else same_size)
            errors.append(error(solve(flow, noise, sigmas, FlowSolver(order, source, field)), exact))
        table.add(method_name(order, source), *errors, fitted_slope(counts, errors))
    errors = [error(dpmpp_2m(flow, noise, sigmas), exact) for sigmas in grids.values()]
    table.add("dpmpp_2m", *errors, fitted_slope(counts, errors))
    return table


def control_table(flow: MixtureFlow, low: MixtureFlow | None, noise: Tensor, exact: Tensor) -> Table:
    """Errors when the LR record is right, scaled or wrong, relative to the same method without a record."""
    table = Table(
        f"{'half-size LR' if low else 'LR = HR'}, negative controls: order 2, shift {CONTROL_SHIFT:g}",
        ["LR record", *(f"{source} N={n}" for source in CONTROLLED for n in CONTROL_STEPS)],
        note="Error / error at gain 0. 'other prompt': the record of another mixture and another start.",
    )
    other_flow, other_noise = picture_flow(seed=1), noise.flip(0)
    if low:
        maker, start, other, other_start = (
            low,
            coarse(noise),
            other_flow.block_mean(SCALE),
            coarse(other_noise),
        )
    else:
        maker, start, other, other_start = flow, noise, other_flow, other_noise
    cells: dict[str, list[float]] = {}
    for source in CONTROLLED:
        for n in CONTROL_STEPS:
            sigmas = shifted(CONTROL_SHIFT)(n)
            record = euler_record(maker, start, sigmas)[1]
            shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(0))
            variants = {f"gain {gain:g}": gain * record for gain in GAINS} | {
                "sign flipped": -record,
                "time shuffled": record[shuffled],
                "other prompt": euler_record(other, other_start, sigmas)[1],
            }
            errors = {}
            for name, variant in variants.items():
                field = LowResField(sigmas, variant, bicubic if low else same_size)
                errors[name] = error(solve(flow, noise, sigmas, FlowSolver(2, source, field)), exact)
            for name, value in errors.items():
                cells.setdefault(name, []).append(value / errors["gain 0"])
    for name, ratios in cells.items():
        table.add(name, *ratios)
    return table
