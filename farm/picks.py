"""The previews that were picked: a text file, one key a line, written by the contact sheet or by hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .jobs import PREVIEW, Job
from .refusal import Refusal, nearest
from .store import write_whole

FILE = "picks.txt"
ALL = "all"
HEAD = "# One preview a line, by the first digits of its key; 'all' takes all of them."


def read_picks(file: Path, jobs: Iterable[Job]) -> set[str]:
    """Keys of the picked previews; empty where nothing was picked yet.

    Text after # is for people. Raises Refusal for a line that names no preview of this manifest, or several.
    """
    previews = [job for job in jobs if job.stage == PREVIEW]
    if not file.exists():
        return set()
    picked: set[str] = set()
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.partition("#")[0].strip().lower()
        if not text:
            continue
        meant = [job.key for job in previews if text == ALL or job.key.startswith(text)]
        if not meant:
            near = nearest(text, [job.short for job in previews])
            raise Refusal(f"{file.name}, line {number}: no preview begins with '{text}'{near}.")
        if len(meant) > 1 and text != ALL:
            raise Refusal(
                f"{file.name}, line {number}: {len(meant)} previews begin with '{text}'; write more of it."
            )
        picked.update(meant)
    return picked


def write_picks(file: Path, picked: Iterable[str], jobs: Iterable[Job]) -> None:
    """Writes the file anew, whole or not at all. picked: keys, or their first digits."""
    wanted = tuple(key for key in picked if key)
    chosen = [job for job in jobs if job.stage == PREVIEW and job.key.startswith(wanted)]
    lines = [f"{job.short}  # {' '.join(job.name.split())}" for job in chosen]
    write_whole(file, "\n".join([HEAD, *lines]) + "\n")
