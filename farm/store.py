"""The folder of a farm's results: each is committed once, by a rename, whole or not at all.

results/preview/KEY/   videos, trajectory, result.json     results/large/KEY/
work/KEY-ATTEMPT/      what a worker is writing            failed/KEY.json
token                  shows a worker that it sees this store
picks.txt  contact_sheet.html
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .jobs import STAGES, Job
from .refusal import Refusal
from .store_lock import only_driver

GIGABYTE = 10**9
FREE_GIGABYTES = 1.0
RESULT = "result.json"
PART = ".part"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_THERE = (errno.ENOTEMPTY, errno.EEXIST)


class Store:
    """A store that this process alone drives; `opened_store` makes one. Workers write into `work` only."""

    def __init__(self, root: Path):
        self.root = root
        self._committed = {stage: set(os.listdir(root / "results" / stage)) for stage in STAGES}
        self._failed = dict(_failures_in(root / "failed"))

    def is_committed(self, job: Job) -> bool:
        return job.key in self._committed[job.stage]

    def has_preview(self, key: str) -> bool:
        return key in self._committed[STAGES[0]]

    def result(self, job: Job) -> Path:
        return self.root / "results" / job.stage / job.key

    def facts(self, job: Job) -> dict[str, Any]:
        """The result.json of a committed job."""
        return json.loads((self.result(job) / RESULT).read_text(encoding="utf-8"))

    def work_folder(self, job: Job, attempt: int) -> Path:
        """Where one attempt writes; never the same twice, so an attempt that was given up disturbs none."""
        return self.root / "work" / f"{job.key}-{attempt}-{secrets.token_hex(4)}"

    def commit(self, job: Job, folder: Path) -> bool:
        """Makes an attempt's folder the result; False, and the folder is gone, where there is one already."""
        with told(self.root):
            try:
                os.rename(folder, self.result(job))
            except OSError as problem:
                if problem.errno not in _THERE and not self.result(job).is_dir():
                    raise
                shutil.rmtree(folder, ignore_errors=True)
                first = False
            else:
                first = True
            _to_disk(self.result(job).parent)
        self._committed[job.stage].add(job.key)
        if self._failed.pop(job.key, None) is not None:
            self._failure(job.key).unlink(missing_ok=True)
        return first

    def fail(self, job: Job, why: str) -> None:
        """Keeps why a job cannot be made, until it is retried."""
        facts = {"stage": job.stage, "key": job.key, "name": job.name, "values": job.values, "why": why}
        with told(self.root):
            write_whole(self._failure(job.key), json.dumps(facts, indent=1, ensure_ascii=False, default=str))
        self._failed[job.key] = why

    def failures(self) -> dict[str, str]:
        """Key -> why, of the jobs that failed and were not made since."""
        return dict(self._failed)

    def forget_failures(self) -> int:
        """Lets failed jobs be tried again; returns how many there were."""
        for key in self._failed:
            self._failure(key).unlink(missing_ok=True)
        count = len(self._failed)
        self._failed.clear()
        return count

    def _failure(self, key: str) -> Path:
        return self.root / "failed" / f"{key}.json"


def _failures_in(folder: Path) -> Iterator[tuple[str, str]]:
    for file in sorted(folder.glob("*.json")):
        facts = json.loads(file.read_text(encoding="utf-8"))
        yield facts["key"], facts["why"]


@contextmanager
def opened_store(root: Path) -> Iterator[Store]:
    """The store of a folder, made where it is missing, for one driver at a time.

    What killed workers left half done is removed. Raises Refusal where another driver is there, the folder
    cannot be written, or less than 1 GB is free.
    """
    with told(root):
        for name in ("work", "failed", *(f"results/{stage}" for stage in STAGES)):
            (root / name).mkdir(parents=True, exist_ok=True)
        require_free_space(root)
    with only_driver(root / "lock"):
        with told(root):
            for left in (root / "work").iterdir():
                shutil.rmtree(left, ignore_errors=True)
            write_whole(root / "token", secrets.token_hex(16))
        yield Store(root)


def require_free_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free / GIGABYTE
    if free < FREE_GIGABYTES:
        raise Refusal(
            f"The disk of {folder} is too full: {free:.2f} GB are free, and {FREE_GIGABYTES:g} GB are needed "
            "to begin. Free some space and run again; what is finished stays."
        )


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Turns what the system says about a drive into a sentence."""
    try:
        yield
    except OSError as problem:
        if problem.errno in _FULL:
            raise Refusal(
                f"The disk of {folder} is full. Free some space and run again: it goes on from what "
                "is finished."
            ) from problem
        raise Refusal(f"The store {folder} cannot be written: {problem.strerror or problem}.") from problem


def write_whole(path: Path, text: str) -> None:
    """Writes a text file under another name and renames it, so that nobody reads half of it."""
    part = path.with_name(f".{path.name}-{secrets.token_hex(4)}{PART}")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _to_disk(folder: Path) -> None:
    """Keeps a new name through a power cut, where folders can be opened."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
