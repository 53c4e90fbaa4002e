"""The farm's loop over 1 to 512 simulated workers: how busy they are, and what deaths and driver cost.

    python -m benchmarks.farm [--model NAME] [--tflops RATE] [--previews N] [--picked SHARE]
        [--hours_between_deaths H] [--quick] [--check] [--json FILE]

The loop and the store are the real ones; the store lies in memory where the system has /dev/shm. Workers
only let simulated time pass: a preview and a large video last as long as `benchmarks.pipeline` counts. Ray,
ComfyUI and the network are not in it. Columns: how busy the workers are until the last job starts, and with
the end of the run, where ever fewer jobs are left than workers; the share of work that deaths destroyed; jobs
started and events answered per second of the driver's processor time.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.tables import Table, add_report_options, report, where
from benchmarks.farm.simulated_pool import Shape, SimulatedPool
from benchmarks.pipeline.cost import Plan, stage_flops
from benchmarks.pipeline.models import MODELS, ModelShape, VideoSize
from farm.drive import Drive
from farm.jobs import LARGE, PREVIEW, Job
from farm.store import opened_store

WORKERS = (1, 8, 64, 512)
LEAST_BUSY = 0.95
LEAST_DECISIONS = 50.0  # per second and core, at the largest number of workers
LOADING_SECONDS = 120.0
PLAN = Plan(VideoSize(1280, 768, 117), VideoSize(2560, 1536, 117))
MEMORY = "/dev/shm"
TITLE = "Simulated farm"


@dataclass(frozen=True)
class Simulated:
    """A run's figures. busy: until the last start. decisions: per second of the driver's processor time."""

    workers: int
    hours: float
    large: int
    busy: float
    busy_to_the_end: float
    lost: float
    deaths: int
    decisions: float


def job_seconds(model: ModelShape, tflops: float) -> dict[str, float]:
    """Counted seconds of a preview and of a large video, VAE and loading left out."""
    stages = stage_flops(model, PLAN, vae=None)["S²Flow"]
    rate = tflops * 1e12
    return {
        PREVIEW: (stages["low-res"] + stages["capture"]) / rate,
        LARGE: stages["high-res"] / rate,
    }


def clips(previews: int, picked: float, chance: random.Random) -> list[Job]:
    """Previews, and the large videos of those that are picked."""
    first = [Job(PREVIEW, f"p{number}") for number in range(previews)]
    chosen = chance.sample(first, round(picked * previews))
    return [*first, *(Job(LARGE, f"l{job.key}", needs=job.key) for job in chosen)]


def simulate(workers: int, jobs: list[Job], shape: Shape, seed: int = 0) -> Simulated:
    """Runs the real loop and a real store to the end of all jobs."""
    pool = SimulatedPool(workers, shape, random.Random(seed))
    memory = MEMORY if Path(MEMORY).is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder, opened_store(Path(folder)) as store:
        driver = Drive(pool, store, clock=lambda: pool.now)
        driver.add(jobs)
        driver.run()
        assert driver.counts.doubled == 0
        made = driver.counts.committed
    assert made + len(driver.failed) == len(jobs)
    last_start = max(one.start for one in pool.worked)
    return Simulated(
        workers,
        pool.now / 3600,
        sum(job.stage == LARGE and job.key not in driver.failed for job in jobs),
        # With one worker the last job starts when all others are done.
        pool.busy_until(last_start or pool.now),
        pool.busy_until(pool.now),
        pool.lost_share(),
        driver.counts.lost,
        driver.counts.decisions / pool.driver["processor"],
    )


def table_of(rows: list[Simulated], note: str) -> Table:
    table = Table(
        TITLE,
        [
            *("workers", "hours", "large videos", "large videos per hour", "busy", "busy to the end"),
            *("lost work", "deaths", "decisions per second and core"),
        ],
        note=note,
    )
    for row in rows:
        shares = [f"{share:.2%}" for share in (row.busy, row.busy_to_the_end, row.lost)]
        table.add(
            str(row.workers), row.hours, row.large, row.large / row.hours, *shares, row.deaths, row.decisions
        )
    return table


def problems_of(rows: list[Simulated]) -> list[str]:
    problems = [
        f"{row.workers} workers: busy {row.busy:.1%}, not {LEAST_BUSY:.0%}."
        for row in rows
        if row.busy < LEAST_BUSY
    ]
    last = rows[-1]
    if last.decisions < LEAST_DECISIONS:
        problems.append(
            f"{last.workers} workers: {last.decisions:.0f} decisions per second and core, not "
            f"{LEAST_DECISIONS:.0f}."
        )
    return problems


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=list(MODELS), default="hunyuan_video")
    parser.add_argument("--tflops", type=float, default=500.0)
    parser.add_argument("--previews", type=int, default=16, help="for each worker")
    parser.add_argument("--picked", type=float, default=0.3, help="share of the previews")
    parser.add_argument("--hours_between_deaths", type=float, default=24.0, help="of one worker, on average")
    parser.add_argument("--quick", action="store_true", help="at most 64 workers")
    add_report_options(parser)
    options = parser.parse_args()
    model = MODELS[options.model]
    seconds = job_seconds(model, options.tflops)
    shape = Shape(
        seconds,
        {PREVIEW: PLAN.steps, LARGE: PLAN.steps_left},
        LOADING_SECONDS,
        options.hours_between_deaths * 3600,
    )
    rows = [
        simulate(workers, clips(options.previews * workers, options.picked, random.Random(1)), shape)
        for workers in (WORKERS[:-1] if options.quick else WORKERS)
    ]
    note = (
        f"Simulated, with the real loop and store: {options.previews} previews for each worker, "
        f"{options.picked:.0%} of them picked; a preview lasts {seconds[PREVIEW]:.0f} s and a large video "
        f"{seconds[LARGE]:.0f} s, as counted for {model.name} at {PLAN.low} and {PLAN.high} with "
        f"{options.tflops:g} TFLOP/s, give or take {shape.spread:.0%}; a worker dies every "
        f"{options.hours_between_deaths:g} hours on average and loads for {LOADING_SECONDS:.0f} s. Ray, "
        "ComfyUI and the network are not in it."
    )
    table = table_of(rows, note)
    print(table.text())
    return report([where(), table], problems_of(rows), options)


if __name__ == "__main__":
    sys.exit(main())
