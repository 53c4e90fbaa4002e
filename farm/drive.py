"""The loop that gives jobs to workers, commits what they made and survives their deaths."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .jobs import Job
from .pool import Lost, Made, Pool, PoolLost, Progress, Stopped, Told
from .refusal import Refusal

MOST_ATTEMPTS = 3  # of a job whose worker died
MOST_POOL_STARTS = 3  # without a commit between them
SILENT_SECONDS = 30 * 60.0


class Results(Protocol):
    """Where the loop keeps results; `store.Store` is one."""

    def is_committed(self, job: Job) -> bool: ...
    def has_preview(self, key: str) -> bool: ...
    def work_folder(self, job: Job, attempt: int) -> Path: ...
    def commit(self, job: Job, folder: Path) -> bool: ...
    def fail(self, job: Job, why: str) -> None: ...


@dataclass
class Running:
    """A job on a worker. heard: when the worker last told something; share: of the job that is done."""

    job: Job
    folder: Path
    since: float
    heard: float
    share: float = 0.0
    what: str = ""


@dataclass
class Counts:
    """What a run did. decisions: jobs started and events answered."""

    committed: int = 0
    doubled: int = 0
    starts: int = 0
    lost: int = 0
    decisions: int = 0
    seconds: dict[str, list[float]] = field(default_factory=dict)


class Drive:
    """Drives one pool into one store; state of one run.

    A job whose worker died goes to the front, at most MOST_ATTEMPTS times. One that ran out of memory is
    tried once more on a fresh ComfyUI. A node's error is final for that job alone; a prompt that is refused
    stops the run (Refusal). A worker that tells nothing for SILENT_SECONDS is taken for dead.
    """

    def __init__(self, pool: Pool, results: Results, clock: Callable[[], float] = time.monotonic):
        self.pool = pool
        self.results = results
        self.clock = clock
        self.waiting: deque[Job] = deque()
        self.running: dict[str, Running] = {}
        self.failed: dict[str, str] = {}
        self.counts = Counts()
        self._later: dict[str, list[Job]] = {}
        self._known: set[str] = set()
        self._attempts: dict[str, int] = {}
        self._short_of_memory: set[str] = set()
        self._pool_starts = 0
        self._next_look = 0.0

    def add(self, jobs: Iterable[Job]) -> None:
        """Jobs in the order in which to begin them; those that are known or finished are passed over.

        A job whose preview is not there yet waits for it.
        """
        for job in jobs:
            if job.key in self._known or self.results.is_committed(job):
                continue
            self._known.add(job.key)
            if job.needs and not self.results.has_preview(job.needs):
                self._later.setdefault(job.needs, []).append(job)
            else:
                self.waiting.append(job)

    def keep_only(self, keys: set[str]) -> None:
        """Takes back jobs that wait and are not wanted any more; what runs is finished."""
        for job in [*self.waiting, *(job for jobs in self._later.values() for job in jobs)]:
            if job.key not in keys:
                self._known.discard(job.key)
        self.waiting = deque(job for job in self.waiting if job.key in keys)
        later = {need: [job for job in jobs if job.key in keys] for need, jobs in self._later.items()}
        self._later = {need: jobs for need, jobs in later.items() if jobs}

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.running)

    def run(self) -> None:
        """Until nothing waits and nothing runs."""
        while self.busy:
            self.step(1.0)

    def step(self, seconds: float) -> None:
        """Gives out what waits, then answers what workers tell within so many seconds."""
        try:
            self._give_out()
            self._answer_all(self.pool.wait(seconds))
            self._look_for_silence()
        except PoolLost as problem:
            self._begin_anew(str(problem))

    def _give_out(self) -> None:
        if not self.waiting:
            return
        for worker in self.pool.idle():
            if not self.waiting:
                return
            job = self.waiting.popleft()
            # Counted first: should the pool die in this call, the job is running and goes to the front.
            attempt = self._attempts[job.key] = self._attempts.get(job.key, 0) + 1
            now, folder = self.clock(), self.results.work_folder(job, attempt)
            self.running[worker] = Running(job, folder, now, now)
            self.counts.starts += 1
            self.counts.decisions += 1
            self.pool.start(worker, job, folder)

    def _answer_all(self, heard: Iterable[Told]) -> None:
        """What stops the run is raised at the end, so that results told with it are kept."""
        problems: list[Refusal | PoolLost] = []
        for told in heard:
            try:
                self._answer(told)
            except (Refusal, PoolLost) as problem:
                problems.append(problem)
        # A stop ends the run, so it goes before a pool that could be started again.
        problems.sort(key=lambda problem: isinstance(problem, PoolLost))
        if problems:
            raise problems[0]

    def _answer(self, told: Told) -> None:
        worker, event, running = told.worker, told.event, self.running.get(told.worker)
        if running is None or running.folder != told.folder:
            return  # of a job that was taken from it
        self.counts.decisions += 1
        if isinstance(event, Progress):
            running.heard, running.share, running.what = self.clock(), event.share, event.what
            return
        del self.running[worker]
        job = running.job
        if isinstance(event, Made):
            self._commit(job, told.folder, self.clock() - running.since)
        elif isinstance(event, Lost):
            self._again(job, event.why)
        elif isinstance(event, Stopped):
            raise Refusal(f"{job.name or job.short}: {event.why}")
        elif event.memory and job.key not in self._short_of_memory:
            self._short_of_memory.add(job.key)
            # Before the kill: should it find the pool dead, the job is not lost with it.
            self.waiting.appendleft(job)
            self.pool.kill(worker, whole=False)
        else:
            self._give_up(job, event.why)

    def _commit(self, job: Job, folder: Path, seconds: float) -> None:
        if self.results.commit(job, folder):
            self.counts.committed += 1
            self.counts.seconds.setdefault(job.stage, []).append(seconds)
        else:
            self.counts.doubled += 1
        self._pool_starts = 0
        self.waiting.extend(self._later.pop(job.key, ()))

    def _again(self, job: Job, why: str) -> None:
        self.counts.lost += 1
        if self._attempts[job.key] < MOST_ATTEMPTS:
            self.waiting.appendleft(job)
        else:
            self._give_up(job, f"Its worker died {MOST_ATTEMPTS} times, last: {why}")

    def _give_up(self, job: Job, why: str) -> None:
        self.results.fail(job, why)
        self.failed[job.key] = why
        for follower in self._later.pop(job.key, ()):
            self._give_up(follower, f"Its preview failed: {why}")

    def _look_for_silence(self) -> None:
        """Now and then: with hundreds of workers, looking at all of them each time would be the work."""
        now = self.clock()
        if now < self._next_look:
            return
        self._next_look = now + SILENT_SECONDS / 60
        for worker, running in list(self.running.items()):
            if now - running.heard > SILENT_SECONDS:
                del self.running[worker]
                self._again(running.job, f"It told nothing for {SILENT_SECONDS / 60:.0f} minutes.")
                self.pool.kill(worker, whole=True)

    def _begin_anew(self, why: str) -> None:
        self._pool_starts += 1
        if self._pool_starts > MOST_POOL_STARTS:
            raise Refusal(f"The workers died {self._pool_starts} times before anything was finished: {why}")
        # Not the jobs' fault, so it is no attempt of theirs.
        for running in self.running.values():
            self._attempts[running.job.key] -= 1
            self.counts.lost += 1
            self.waiting.appendleft(running.job)
        self.running.clear()
        self.pool.restart()
