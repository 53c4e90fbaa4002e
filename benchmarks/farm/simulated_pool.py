"""Workers that let simulated time pass and die by chance; the driver's own time passes on their clock."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from farm.jobs import Job
from farm.pool import Event, Lost, Made, Progress, Told


@dataclass(frozen=True)
class Shape:
    """Seconds: of a job by stage; of loading after a death; mean between two deaths of one worker.

    steps: by stage, each told while it runs. spread: of a job's length, as a share of it.
    """

    seconds: dict[str, float]
    steps: dict[str, int]
    loading: float
    between_deaths: float
    spread: float = 0.05


@dataclass(frozen=True)
class Worked:
    """One job on one worker, from start to end in simulated seconds. lost: the worker died in it."""

    start: float
    end: float
    lost: bool


@dataclass
class SimulatedPool:
    """A pool of `workers` for `farm.drive`; `now` is the simulated time in seconds.

    Real time that the driver takes between two waits is added to `now`: were it the bottleneck, workers
    would stand idle here as they would in truth. driver: sum of it, as wall time and as processor time.
    """

    workers: int
    shape: Shape
    chance: random.Random
    now: float = 0.0
    worked: list[Worked] = field(default_factory=list)
    driver: dict[str, float] = field(default_factory=lambda: {"wall": 0.0, "processor": 0.0})

    def __post_init__(self) -> None:
        self._idle = [f"w{number}" for number in range(self.workers)]
        self._order = itertools.count()
        self._coming: list[tuple[float, int, str, Path, Event | None]] = []
        self._left = (time.perf_counter(), time.process_time())

    def idle(self) -> list[str]:
        """Workers that can take a job now."""
        return list(self._idle)

    def start(self, worker: str, job: Job, folder: Path) -> None:
        """Everything that will be told of this job is known at once, and waits for its time."""
        self._idle.remove(worker)
        shape = self.shape
        length = shape.seconds[job.stage] * (1 + shape.spread * self.chance.uniform(-1, 1))
        death = self.chance.expovariate(1 / shape.between_deaths)
        end = self.now + min(length, death)
        steps = shape.steps[job.stage]
        for step in range(1, steps):
            if self.now + length * step / steps < end:
                self._tell(self.now + length * step / steps, worker, folder, Progress(step / steps))
        lost = death < length
        self._tell(end, worker, folder, Lost("killed") if lost else Made())
        self.worked.append(Worked(self.now, end, lost))

    def wait(self, seconds: float) -> list[Told]:
        """Lets time pass to the next thing that is told, or by so many seconds."""
        self._add_driver_time()
        until = self.now + seconds
        if self._coming:
            until = max(self.now, min(until, self._coming[0][0]))
        self.now = until
        told: list[Told] = []
        while self._coming and self._coming[0][0] <= self.now:
            _, _, worker, folder, event = heapq.heappop(self._coming)
            if event is None:
                self._idle.append(worker)
                continue
            told.append(Told(worker, folder, event))
            if isinstance(event, Made):
                folder.mkdir()
                self._idle.append(worker)
            elif isinstance(event, Lost):
                self._tell(self.now + self.shape.loading, worker, folder, None)
        self._left = (time.perf_counter(), time.process_time())
        return told

    def kill(self, worker: str, whole: bool) -> None:
        """No worker here falls silent or runs out of memory."""
        raise AssertionError("a simulated worker needs no killing")

    def restart(self) -> None:
        """This pool dies worker by worker alone."""
        raise AssertionError("a simulated pool does not die as a whole")

    def _tell(self, when: float, worker: str, folder: Path, event: Event | None) -> None:
        heapq.heappush(self._coming, (when, next(self._order), worker, folder, event))

    def _add_driver_time(self) -> None:
        wall, processor = self._left
        taken = time.perf_counter() - wall
        self.driver["wall"] += taken
        self.driver["processor"] += time.process_time() - processor
        self.now += taken

    def busy_until(self, moment: float) -> float:
        """Share of all workers' time up to a moment in which they worked."""
        worked = sum(min(one.end, moment) - one.start for one in self.worked if one.start < moment)
        return worked / (self.workers * moment)

    def lost_share(self) -> float:
        """Share of all work that was lost by deaths."""
        lengths = [(one.end - one.start, one.lost) for one in self.worked]
        return sum(length for length, lost in lengths if lost) / sum(length for length, _ in lengths)
