"""What windows keep: sampled against exact coverage, policies against each other, error against dense."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.attention.inputs import HR_STEPS, QKV, CapturedRun
from benchmarks.common.exact_attention import relative_error
from benchmarks.common.tables import Table
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.attention.window_attention import HeadWindows, window_attention
from s2flow_core.plan.policies import plan_windows
from s2flow_core.plan.window_plan import WindowPlan
from s2flow_core.reach.measure import measure_reach
from s2flow_core.reach.output_error import measure_reach_and_error
from s2flow_core.reach.record import AttentionReach
from s2flow_core.reach.rows import sample_query_rows
from s2flow_core.windows.grid import TokenGrid, choose_reach_tile, choose_tile
from s2flow_core.windows.ladder import extent_ladder

ROWS = 256
MOST_SAMPLING_ERROR = 0.02
POLICIES = ("paper", "budget", "error", "fixed")
PAPER_GRID = (30, 96, 160)  # 2560x1536, 117 frames
S_STEP = 0.01
_ROUNDING = 1e-6
_STEPS, _LAYERS, _HEADS, _DIM = 10, 2, 2, 128


def coverage_tables(run: CapturedRun, densities: tuple[float, ...]) -> tuple[list[Table], list[str]]:
    """All tables, and a sentence for everything that falls short."""
    sampling, sampling_problems = sampling_table(run)
    policies, policy_problems = policy_table(run, densities)
    return [sampling, policies, equal_coverage_table(run, densities)], sampling_problems + policy_problems


def sampling_table(run: CapturedRun) -> tuple[Table, list[str]]:
    """Coverage from 256 rows against coverage from all rows, over every window, layer and head at HR."""
    grid = TokenGrid(run.high_grid, choose_reach_tile(run.high_grid))
    table = Table(
        f"Coverage of every window from {ROWS} of {grid.tokens} rows", ["HR step", "mean error", "largest"]
    )
    problems = []
    for step, layers in run.high.items():
        rows = sample_query_rows(grid, ROWS, seed=0)
        off = torch.stack(
            [
                measure_reach(q, k, VideoSequence(grid), rows)
                - measure_reach(q, k, VideoSequence(grid), torch.arange(grid.tokens))
                for q, k, _ in layers
            ]
        ).abs()
        table.add(step, off.mean().item(), off.max().item())
        if off.mean() > MOST_SAMPLING_ERROR:
            problems.append(
                f"Coverage from {ROWS} rows is off by {off.mean():.3f} in step {step}, more than "
                f"{MOST_SAMPLING_ERROR}."
            )
    return table, problems


def policy_table(run: CapturedRun, densities: tuple[float, ...]) -> tuple[Table, list[str]]:
    """Every policy at equal s: what its windows cover at LR, and what they change in HR attention."""
    reach = reach_of(run)
    grid = TokenGrid(run.high_grid, choose_tile(run.high_grid))
    table = Table(
        f"Windows chosen on {run.low_grid} tokens, used on {run.high_grid}",
        ["policy", "s", "density", "coverage", "error to dense", "error with tail"],
        note="Errors are relative L2 of the attention output, over all layers of the HR steps asked.",
    )
    dense = [F.scaled_dot_product_attention(*qkv) for layers in run.high.values() for qkv in layers]
    problems = []
    for density in densities:
        plans = {name: plan_windows(reach, run.sigmas, grid, density, name) for name in POLICIES}
        for name, plan in plans.items():
            plain, tailed = (output_error(run, dense, plan, tail) for tail in (False, True))
            table.add(name, density, plan.density, plan.coverage.mean().item(), plain, tailed)
        paper, budget = (plans[name].coverage.flatten(1).mean(dim=1) for name in ("paper", "budget"))
        worse = int((budget < paper - _ROUNDING).sum())
        table.note += (
            f"\nAt s = {density}, budget covers {(budget - paper).mean():+.4f} against paper, and not less "
            f"in {len(paper) - worse} of {len(paper)} steps."
        )
        if worse:
            problems.append(f"At s = {density}, budget covers less than paper in {worse} steps.")
    return table, problems


def equal_coverage_table(run: CapturedRun, densities: tuple[float, ...]) -> Table:
    """The least s at which `budget` covers what `paper` covers, on the paper's large grid."""
    reach, grid = reach_of(run), TokenGrid(PAPER_GRID)

    def plan(s: float, policy: str) -> WindowPlan:
        return plan_windows(reach, run.sigmas, grid, s, policy)

    table = Table(
        f"Equal coverage, heads of the {run.source}, windows on {PAPER_GRID} tokens",
        ["paper at s", "density", "coverage", "budget at s", "its density", "its coverage"],
    )
    for density in densities:
        paper = plan(density, "paper")
        low, high = 0, round(density / S_STEP)  # budget covers enough at high, and not at low
        while high - low > 1:
            middle = (low + high) // 2
            enough = plan(middle * S_STEP, "budget").coverage.mean() >= paper.coverage.mean()
            low, high = (low, middle) if enough else (middle, high)
        budget = plan(high * S_STEP, "budget")
        columns = [(plan.density, plan.coverage.mean().item()) for plan in (paper, budget)]
        table.add(density, *columns[0], round(high * S_STEP, 2), *columns[1])
    return table


def reach_of(run: CapturedRun) -> AttentionReach:
    """The record that the Low-Res Sampler makes."""
    grid = TokenGrid(run.low_grid, choose_reach_tile(run.low_grid))
    knots, rows = extent_ladder(grid.tiles), sample_query_rows(grid, ROWS, seed=0)
    found = [
        [measure_reach_and_error(q, k, v, VideoSequence(grid), rows, knots) for q, k, v in layers]
        for layers in run.low
    ]

    def kept(name: str) -> Tensor:
        return torch.stack([torch.stack([getattr(one, name) for one in layers]) for layers in found]).half()

    return AttentionReach(kept("mass"), grid.shape, grid.tile, kept("error"), knots, kept("nothing"))


def output_error(run: CapturedRun, dense: list[Tensor], plan: WindowPlan, tail: bool) -> float:
    """Relative L2 error of windowed to dense attention, over all captured HR calls."""
    windowed = [
        window_attention(
            q,
            k,
            v,
            VideoSequence(plan.grid),
            HeadWindows(plan.extents_at(step, layer), tail=tail),
            backend="torch_boxes",
        )
        for step, layers in run.high.items()
        for layer, (q, k, v) in enumerate(layers)
    ]
    return relative_error(torch.stack(windowed), torch.stack(dense))


def random_run(resize: int = 2, steps: tuple[int, ...] = HR_STEPS) -> CapturedRun:
    """Stands in where the small model's file is missing: heads that look everywhere alike."""
    low_grid, high_grid = (5, 8, 8), (5, 8 * resize, 8 * resize)
    generator = torch.Generator().manual_seed(0)

    def layer(tokens: int) -> QKV:
        q, k, v = torch.randn(3, 1, _HEADS, tokens, _DIM, generator=generator)
        return q, k, v

    low = [[layer(math.prod(low_grid)) for _ in range(_LAYERS)] for _ in range(_STEPS)]
    high = {step: [layer(math.prod(high_grid)) for _ in range(_LAYERS)] for step in steps}
    return CapturedRun("random", torch.linspace(1, 0.1, _STEPS), low_grid, low, high_grid, high)
