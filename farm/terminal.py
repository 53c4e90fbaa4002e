"""What the terminal shows while the farm works: each stage with what is done and the seconds left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import TextIO

from .drive import Drive
from .jobs import STAGES, Job

SECONDS_BETWEEN_LINES = 10.0
WIDTH = 110


class Terminal:
    """Shows a drive. A terminal's line is replaced; elsewhere a line is written now and then."""

    def __init__(self, drive: Drive, stream: TextIO = sys.stdout):
        self.drive = drive
        self.stream = stream
        self._last = ""
        self._next = 0.0

    def show(self, jobs: Iterable[Job], *, final: bool = False) -> None:
        """jobs: all that are wanted now, done or not."""
        if not self.stream.isatty() and not final and time.monotonic() < self._next:
            return
        line = stages_line(self.drive, list(jobs))
        if self.stream.isatty():
            self.stream.write(f"\r\033[K{line[:WIDTH]}" + ("\n" if final else ""))
        elif line != self._last:
            self.stream.write(line + "\n")
        self.stream.flush()
        self._last, self._next = line, time.monotonic() + SECONDS_BETWEEN_LINES


def stages_line(drive: Drive, jobs: list[Job]) -> str:
    """For example: preview 3 of 8, 2 running, about 120 s left; large 0 of 2."""
    parts = []
    for stage in STAGES:
        wanted = [job for job in jobs if job.stage == stage]
        if not wanted:
            continue
        done = sum(drive.results.is_committed(job) for job in wanted)
        failed = sum(job.key in drive.failed for job in wanted)
        running = sum(run.job.stage == stage for run in drive.running.values())
        text = f"{stage} {done} of {len(wanted)}"
        text += f", {failed} failed" if failed else ""
        text += f", {running} running" if running else ""
        left = seconds_left(drive, stage, len(wanted) - done - failed)
        parts.append(text + (f", about {left:.0f} s left" if left else ""))
    return "; ".join(parts)


def seconds_left(drive: Drive, stage: str, jobs: int) -> float | None:
    """From the mean of what was made, or from how far the running ones are; None before either tells."""
    running = [run for run in drive.running.values() if run.job.stage == stage]
    now, made = drive.clock(), drive.counts.seconds.get(stage, [])
    guesses = made or [(now - run.since) / run.share for run in running if run.share > 0]
    workers = len(drive.running)
    if not guesses or not jobs or not workers:
        return None
    mean = sum(guesses) / len(guesses)
    begun = sum(min(mean, now - run.since) for run in running)
    return max(0.0, mean * jobs - begun) / min(workers, jobs)
