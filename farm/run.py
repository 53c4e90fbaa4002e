"""A run of the farm: previews, contact sheet, then the large videos of those that were picked."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from .drive import Drive
from .jobs import PREVIEW, Job, picked_jobs
from .picks import FILE, read_picks, write_picks
from .pool import Pool
from .refusal import Refusal
from .sheet import PAGE, cards_of, page_of
from .sheet_server import SheetServer
from .store import Store, write_whole
from .terminal import Terminal

STEP_SECONDS = 0.5


@dataclass
class Run:
    """One run over one store. start_pool: starts the workers, only once there is something to do."""

    store: Store
    jobs: list[Job]
    start_pool: Callable[[], AbstractContextManager[Pool]]

    def __post_init__(self) -> None:
        self.picks = self.store.root / FILE
        self.previews = [job for job in self.jobs if job.stage == PREVIEW]
        self.address = ""  # of the contact sheet, while it is served
        self._picked: set[str] = set()
        self._picks_seen: tuple[int, int] | None = None

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
            self.write_sheet()
            todo = self.unfinished()
            if todo or wait:
                self._drive(stack, todo, wait)
            self.write_sheet()
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
        write_whole(self.store.root / PAGE, page_of(cards_of(self.store, self.jobs), self._picked))

    def _drive(self, stack: ExitStack, todo: list[Job], wait: bool) -> None:
        while not todo and wait:
            # No worker is started for nothing.
            time.sleep(STEP_SECONDS)
            todo = self.unfinished()
        drive = Drive(stack.enter_context(self.start_pool()), self.store)
        terminal = Terminal(drive)
        drive.add(todo)
        made = 0
        while drive.busy or wait:
            drive.step(STEP_SECONDS)
            drive.add(self.unfinished())
            terminal.show(self.wanted())
            if drive.counts.committed != made:
                made = drive.counts.committed
                self.write_sheet()
        terminal.show(self.wanted(), final=True)

    def _read_picks(self) -> None:
        """Looks into the file only when it is another; a wrong line of a file that changed is told once."""
        try:
            facts = self.picks.stat()
        except FileNotFoundError:
            seen = None
        else:
            seen = (facts.st_mtime_ns, facts.st_size)
        if seen == self._picks_seen:
            return
        first, self._picks_seen = self._picks_seen is None, seen
        try:
            self._picked = read_picks(self.picks, self.jobs)
        except Refusal as problem:
            if first:
                raise
            print(f"\n{problem} The picks from before are kept.")

    def _live_page(self, token: str) -> str:
        return page_of(cards_of(self.store, self.jobs), self._picked, token)

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
    picked = picked_jobs(jobs, read_picks(root / FILE, jobs))
    lines.append(f"picked: {len(picked)} large")
    return "\n".join(lines)
