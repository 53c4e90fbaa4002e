"""Workers that make nothing but deaths, on a clock of their own, and a store that remembers every commit."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from farm.jobs import LARGE, PREVIEW, Job
from farm.pool import Event, Lost, Made, NodeFailed, PoolLost, Progress, Told


class DriverKilled(Exception):
    """Stands for kill -9 of the process that drives."""


class MemoryStore:
    """Results outlive the driver. killed: asked at each commit, before and after; True ends the driver."""

    def __init__(self, killed=lambda: False):
        self.commits: Counter[str] = Counter()
        self.kept: dict[str, set[str]] = {PREVIEW: set(), LARGE: set()}
        self.failed: dict[str, str] = {}
        self.folders = 0
        self.killed = killed

    def is_committed(self, job: Job) -> bool:
        return job.key in self.kept[job.stage]

    def has_preview(self, key: str) -> bool:
        return key in self.kept[PREVIEW]

    def work_folder(self, job: Job, attempt: int) -> Path:
        self.folders += 1
        return Path(f"{job.key}-{attempt}-{self.folders}")

    def commit(self, job: Job, folder: Path) -> bool:
        assert folder.name.startswith(job.key), "a result under another job's key"
        if self.killed():
            raise DriverKilled
        if self.is_committed(job):
            return False
        self.kept[job.stage].add(job.key)
        self.commits[job.key] += 1
        if self.killed():
            raise DriverKilled
        return True

    def fail(self, job: Job, why: str) -> None:
        self.failed[job.key] = why


class FakePool:
    """Every wait, each busy worker goes on, ends, dies or lacks memory.

    deaths, memory: chances of a death and of a lack of memory, per wait and worker.
    """

    def __init__(
        self,
        chance: random.Random,
        workers: int,
        deaths: float = 0.0,
        pool_deaths: float = 0.0,
        memory: float = 0.0,
    ):
        self.chance = chance
        self.names = [f"w{number}" for number in range(workers)]
        self.deaths, self.pool_deaths, self.memory = deaths, pool_deaths, memory
        self.jobs: dict[str, tuple[Job, Path]] = {}
        self.down: set[str] = set()
        self.started: list[str] = []
        self.killed: list[tuple[str, bool]] = []
        self.stray: list[Told] = []

    def idle(self) -> list[str]:
        return [name for name in self.names if name not in self.jobs and name not in self.down]

    def start(self, worker: str, job: Job, folder: Path) -> None:
        assert worker not in self.jobs, "two jobs on one worker"
        if self.chance.random() < self.pool_deaths / 10:
            raise PoolLost("died while a job was given out")
        self.jobs[worker] = (job, folder)
        self.started.append(job.key)

    def wait(self, seconds: float) -> list[Told]:
        if self.chance.random() < self.pool_deaths:
            raise PoolLost("the cluster is gone")
        self.down.clear()
        told, self.stray = self.stray, []
        for worker, (_, folder) in list(self.jobs.items()):
            told += [Told(worker, folder, event) for event in self.events(worker, folder)]
        self.chance.shuffle(told)
        return told

    def events(self, worker: str, folder: Path) -> Sequence[Event]:
        luck = self.chance.random()
        if luck < self.deaths:
            del self.jobs[worker]
            self.down.add(worker)
            if luck < self.deaths / 2:
                # It was done before it died, and that comes too late.
                self.stray.append(Told(worker, folder, Made()))
            return [Lost("killed")]
        if luck < self.deaths + self.memory:
            del self.jobs[worker]
            return [NodeFailed("out of memory", memory=True)]
        if luck < 0.6:
            del self.jobs[worker]
            return [Made()]
        return [Progress(luck)]

    def kill(self, worker: str, whole: bool) -> None:
        self.killed.append((worker, whole))
        if self.chance.random() < self.pool_deaths * 20:
            raise PoolLost("died while a worker was killed")
        self.jobs.pop(worker, None)

    def restart(self) -> None:
        self.jobs.clear()
        self.down.clear()
