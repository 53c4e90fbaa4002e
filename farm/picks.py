"""The previews that were picked: a text file, one key a line, written by the contact sheet or by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .jobs import PREVIEW, Job
from .refusal import Refusal, nearest
from .store import write_whole

FILE = "picks.txt"
ALL = "all"
HEAD = "# One preview a line, by the first digits of its key; 'all' takes all of them."


@dataclass(frozen=True)
class Picks:
    """keys: of the picked previews. passed: a sentence for each line that names no preview."""

    keys: set[str]
    passed: tuple[str, ...] = ()


def read_picks(file: Path, jobs: Iterable[Job]) -> Picks:
    """What was picked; nothing where there is no file yet.

    Text after # is for people. Raises Refusal for a line that names several previews, and for a file that
    cannot be read.
    """
    previews = [job for job in jobs if job.stage == PREVIEW]
    picked: set[str] = set()
    passed: list[str] = []
    for number, line in enumerate(lines_of(file), start=1):
        text = line.partition("#")[0].strip().lower()
        if not text:
            continue
        meant = [job.key for job in previews if text == ALL or job.key.startswith(text)]
        if not meant:
            near = nearest(text, [job.short for job in previews])
            passed.append(
                f"{file.name}, line {number}: no preview begins with '{text}'{near}. It is passed over."
            )
        if len(meant) > 1 and text != ALL:
            raise Refusal(
                f"{file.name}, line {number}: {len(meant)} previews begin with '{text}'; write more of it."
            )
        picked.update(meant)
    return Picks(picked, tuple(passed))


def lines_of(file: Path) -> list[str]:
    """Editors of Windows begin a file with a mark of its encoding, which belongs to no line."""
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as problem:
        raise Refusal(f"{file.name} is no text in UTF-8. Save it as UTF-8.") from problem
    except OSError as problem:
        raise Refusal(f"{file} cannot be read: {problem.strerror or problem}.") from problem


def write_picks(file: Path, picked: Iterable[str], jobs: Iterable[Job]) -> None:
    """Writes the file anew, whole or not at all. picked: keys, or their first digits."""
    wanted = tuple(key for key in picked if key)
    chosen = [job for job in jobs if job.stage == PREVIEW and job.key.startswith(wanted)]
    lines = [f"{job.short}  # {' '.join(job.name.split())}" for job in chosen]
    write_whole(file, "\n".join([HEAD, *lines]) + "\n")
