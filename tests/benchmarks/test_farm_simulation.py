"""The simulated farm: time passes as the shape says, and what falls short is named."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from benchmarks.farm.__main__ import LEAST_DECISIONS, clips, job_seconds, problems_of, simulate
from benchmarks.farm.simulated_pool import Shape
from benchmarks.pipeline.models import MODELS
from farm.jobs import LARGE, PREVIEW

SHAPE = Shape({PREVIEW: 1e3, LARGE: 4e3}, {PREVIEW: 5, LARGE: 4}, 100.0, 1e15, spread=0.0)


@pytest.mark.parametrize(("workers", "previews"), [(1, 4), (4, 4), (4, 8)])
def test_without_deaths_time_is_what_the_jobs_take(workers: int, previews: int):
    row = simulate(workers, clips(previews, 1.0, random.Random(0)), SHAPE)
    assert row.hours * 3600 == pytest.approx(5e3 * previews / workers, rel=0.02)
    assert row.busy_to_the_end == pytest.approx(1, abs=0.02) and row.lost == 0 and row.deaths == 0


def test_deaths_cost_what_they_destroy():
    jobs = clips(40, 0.5, random.Random(0))
    row = simulate(8, jobs, replace(SHAPE, between_deaths=2e4))
    assert row.deaths > 0 and 0 < row.lost < 0.5
    assert row.hours > simulate(8, jobs, SHAPE).hours


def test_the_length_of_a_job_is_the_counted_one():
    """569.85 + 1.1445 and 2516.73 PFLOP, as benchmarks/results/pipeline.json has them."""
    seconds = job_seconds(MODELS["hunyuan_video"], 500.0)
    assert seconds == pytest.approx({PREVIEW: 1141.989, LARGE: 5033.459}, rel=1e-5)
    halved = job_seconds(MODELS["hunyuan_video"], 1000.0)
    assert halved == pytest.approx({stage: length / 2 for stage, length in seconds.items()})


@pytest.mark.parametrize(
    ("busy", "decisions", "count"),
    [(0.96, 60.0, 0), (0.94, 60.0, 1), (0.96, LEAST_DECISIONS - 1, 1), (0.5, 1.0, 2)],
)
def test_what_falls_short_is_named(busy: float, decisions: float, count: int):
    row = simulate(1, clips(1, 1.0, random.Random(0)), SHAPE)
    assert len(problems_of([replace(row, busy=busy, decisions=decisions)])) == count
