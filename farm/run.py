"""A run of the farm: previews, contact sheet, then the large videos of those that were picked."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from .drive import Drive
from .jobs import PREVIEW, Job, picked_jobs
from .picks import FILE, read_picks, write_picks
from .pool import Pool
from .refusal import Refusal
from .sheet import PAGE, Cards, page_of
from .sheet_server import SheetServer
from .store import Store, told, write_whole
from .terminal import Terminal

STEP_SECONDS = 0.5
SHEET_SECONDS = 2.0  # between two writings of the contact sheet


@dataclass(frozen=True)
class Seen:
    """By which a file is told from what it was before; facts: None where there is none."""

    facts: tuple[int, int] | None

    @classmethod
    def of(cls, file: Path) -> Seen:
        with suppress(OSError):
            facts = file.stat()
            return cls((facts.st_mtime_ns, facts.st_size))
        return cls(None)


@dataclass
class Run:
    """One run over one store. start_pool: starts the workers, only once there is something to do."""

    store: Store
    jobs: list[Job]
    start_pool: Callable[[], AbstractContextManager[Pool]]

    def __post_init__(self) -> None:
        self.picks = self.store.root / FILE
        self.previews = [job for job in self.jobs if job.stage == PREVIEW]
        self.cards = Cards(self.store, self.jobs)
        self.address = ""  # of the contact sheet, while it is served
        self._picked: set[str] = set()
        self._picks_seen: Seen | None = None
        self._sheet_shows = (0, 0)  # so many results and failures
        self._sheet_due = 0.0

    def wanted(self) -> list[Job]:
        """Every preview, and the large videos of what is picked by now."""
        self._read_picks()
        return [*self.previews, *picked_jobs(self.jobs, self._picked)]

    def unfinished(self) -> list[Job]:
        """What is to be done now; what failed in an earlier run waits for --retry-failed."""
        failed = self.store.failures()
        return [job for job in self.wanted() if not self.store.is_committed(job) and job.key not in failed]

    def make(self, wait: bool) -> int:
        """Makes what is wanted and, with `wait`, what is picked until Ctrl-C. 1 where something failed."""
        with ExitStack() as stack:
            if wait:
                server = SheetServer(self.store.root, self._live_page, self._take)
                stack.enter_context(server)
                self.address = server.address
                print(f"Contact sheet: {server.address}  (ticks are taken while this runs; Ctrl-C ends it)")
            todo = self.unfinished()
            self.write_sheet()
            # However the run ends: with --wait it is by Ctrl-C.
            stack.callback(self.write_sheet)
            if todo or wait:
                self._drive(stack, todo, wait)
        failures = {job.short: why for job in self.wanted() if (why := self.store.failures().get(job.key))}
        for short, why in failures.items():
            print(f"{short} failed: {why}")
        if failures:
            print("What failed is tried again with --retry-failed.")
        elif not self._picked:
            print(f"Tick previews in {self.store.root / PAGE}, then run this again.")
        return int(bool(failures))

    def write_sheet(self) -> None:
        """The contact sheet as a file, for everyone who sees the store."""
        with told(self.store.root):
            write_whole(self.store.root / PAGE, page_of(self.cards.now(), self._picked))

    def _keep_sheet(self, drive: Drive) -> None:
        """Writes the sheet when it would show something else, but not at every one of many results."""
        now, shows = time.monotonic(), (drive.counts.committed, len(drive.failed))
        if shows != self._sheet_shows and now >= self._sheet_due:
            self.write_sheet()
            self._sheet_shows, self._sheet_due = shows, now + SHEET_SECONDS

    def _drive(self, stack: ExitStack, todo: list[Job], wait: bool) -> None:
        while not todo and wait:
            # No worker is started for nothing.
            time.sleep(STEP_SECONDS)
            todo = self.unfinished()
        drive = Drive(stack.enter_context(self.start_pool()), self.store)
        terminal = Terminal(drive)
        drive.add(todo)
        while drive.busy or wait:
            drive.step(STEP_SECONDS)
            drive.keep_only({job.key for job in self.wanted()})
            drive.add(self.unfinished())
            terminal.show(self.wanted())
            self._keep_sheet(drive)
        terminal.show(self.wanted(), final=True)

    def _read_picks(self) -> None:
        """Looks into the file only when it is another; what is wrong with it is told once.

        At the first look nothing runs yet, so a wrong file ends the run; later ones are left alone.
        """
        seen = Seen.of(self.picks)
        if seen == self._picks_seen:
            return
        first, self._picks_seen = self._picks_seen is None, seen
        try:
            picks = read_picks(self.picks, self.jobs)
        except Refusal as problem:
            if first:
                raise
            print(f"\n{problem} The picks from before are kept.")
            return
        self._picked = picks.keys
        for sentence in picks.passed:
            print(f"\n{sentence}")

    def _live_page(self, token: str) -> str:
        return page_of(self.cards.now(), self._picked, token)

    def _take(self, keys: list[str]) -> None:
        write_picks(self.picks, keys, self.jobs)


def status_of(root: Path, jobs: list[Job]) -> str:
    """What is done in a store, without disturbing who works in it."""
    lines = []
    for stage in ("preview", "large"):
        keys = {job.key for job in jobs if job.stage == stage}
        there = {path.name for path in (root / "results" / stage).glob("*")} & keys
        failed = {path.stem for path in (root / "failed").glob("*.json")} & keys
        lines.append(f"{stage}: {len(there)} of {len(keys)} made, {len(failed)} failed")
    try:
        picks = read_picks(root / FILE, jobs)
    except Refusal as problem:
        return "\n".join([*lines, str(problem)])
    lines += [f"picked: {len(picked_jobs(jobs, picks.keys))} large", *picks.passed]
    return "\n".join(lines)
