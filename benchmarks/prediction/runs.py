"""Small runs that are timed, and the large runs that are foretold from them."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from benchmarks.common.small_model import LowResRun, SmallModel
from demo.clips.scenes import TRAIN_SIZE

SIZES = (TRAIN_SIZE, TRAIN_SIZE * 3 // 2)
"""Sides of the small video in pixels; the large one has twice that."""

VALUES = (0.25, 0.5, 0.75, 1.0)
STEPS, STEPS_LEFT = 12, 4


@dataclass(frozen=True)
class Row:
    """One s. density: of the windows. foretold, taken: seconds of the large run, medians over the rounds."""

    s: float
    density: float
    foretold: float
    taken: float

    @property
    def ratio(self) -> float:
        return self.foretold / self.taken


def measured_rounds(model: SmallModel, size: int, rounds: int) -> list[Row]:
    """A row for every s; in each round one small run, then a large one for every s."""
    model.recorded(0, 2, size)  # loads and warms up
    made = [round_of(model, size) for _ in range(rounds)]
    return [
        Row(
            s,
            rows[0].density,
            statistics.median(row.foretold for row in rows),
            statistics.median(row.taken for row in rows),
        )
        for s, rows in zip(VALUES, zip(*made, strict=True), strict=True)
    ]


def round_of(model: SmallModel, size: int) -> list[Row]:
    run = model.run_of(0, *model.recorded(0, STEPS, size))
    return [row_of(run, s) for s in VALUES]


def row_of(run: LowResRun, s: float) -> Row:
    triple = run.transition(STEPS_LEFT)
    forecasts = run.model.module("s2flow_core.outlook.forecast")
    plan = run.windows(triple[0], s, "error", tail=True, sigmas=triple[1])
    forecast = forecasts.Forecast.of(run.trajectory.step_seconds, run.trajectory.reach.shape, plan)
    density = forecasts.density_of_run(plan, triple[1].tolist())
    began = time.perf_counter()
    run.high_res(triple, windows=plan, backend="auto")
    return Row(s, density, STEPS_LEFT * forecast.step(density), time.perf_counter() - began)
