"""ComfyUI's output and input folders: what lies in them, and where a new file goes.

A link that an artist put into one of them belongs to it, wherever it leads. A name never leads out of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Any

import folder_paths

from ...s2flow_core.files.written_whole import told

# Both are listed, so that a saved file need not be moved before it can be loaded.
PLACES = ("output", "input")
_MOST_DIGITS = 18  # of a number that somebody made up


def place(name: str) -> Path:
    return Path(
        folder_paths.get_output_directory() if name == "output" else folder_paths.get_input_directory()
    )


def listed_files(suffix: str) -> list[str]:
    """Every file with this suffix as place/path, newest first; what cannot be looked at is left out."""
    found: list[tuple[float, str]] = []
    for name in PLACES:
        for path in _files_in(place(name), suffix):
            # It may be gone by now, or be a link to nowhere.
            age = _or_none(os.path.getmtime, path)
            file = f"{name}/{PurePath(os.path.relpath(path, place(name))).as_posix()}"
            if age is not None and os.path.isfile(path) and _is_text(file):
                found.append((-age, file))
    return [file for _, file in sorted(found)]


def path_of(file: Any) -> Path:
    """The path behind a listed name; a ValueError for one that is no name, or leads out of its folder."""
    if not isinstance(file, str):
        raise ValueError(f"file is the name of a trajectory file, not {type(file).__name__}: {file!r:.80}.")
    name, _, rest = file.partition("/")
    inside = PurePath(rest)
    leads_out = inside.is_absolute() or inside.drive or ".." in inside.parts
    if name not in PLACES or not inside.parts or leads_out or not _is_text(file):
        raise ValueError(
            f"{file!r:.200} is not in ComfyUI's output or input folder; choose a file from the list."
        )
    return place(name) / inside


def version_of(path: Path) -> str:
    """Another text when the file is another; empty where there is none."""
    facts = _or_none(os.stat, path)
    return "" if facts is None else f"{facts.st_mtime_ns} {facts.st_size}"


def numbered_files(prefix: Any, suffix: str) -> tuple[Callable[[int], Path], int]:
    """The names of files that a prefix stands for, in the output folder, and the first number to try.

    prefix: may begin with folders and hold ComfyUI's %date% parts; everything else in it is taken as it is.
    Raises ValueError for one that leads out of the output folder, NotWritten where its folder cannot be made.
    """
    inside = PurePath(os.path.normpath(prefix) if isinstance(prefix, str) else "")
    leads_out = inside.is_absolute() or inside.drive or ".." in inside.parts
    if not inside.name or leads_out or not _is_text(prefix):
        raise ValueError(
            f"filename_prefix {prefix!r:.200} is no name in ComfyUI's output folder. Write one such as "
            "trajectories/s2flow: without '..', not beginning with '/' or a drive."
        )
    with told(place("output") / inside):
        *folders, name = (_dated(part) for part in inside.parts)
        folder = place("output").joinpath(*folders)
        folder.mkdir(parents=True, exist_ok=True)

    def numbered(number: int) -> Path:
        return folder / f"{name}_{number:05}{suffix}"

    return numbered, _highest_number(folder, f"{name}_", suffix) + 1


def shown_name(path: Path) -> str:
    """A saved file as place/path, as it is listed."""
    return f"output/{path.relative_to(place('output')).as_posix()}"


def _dated(part: str) -> str:
    """A folder's or file's name with ComfyUI's %date% parts put in.

    One name at a time: asked for all of them, later versions refuse folders that are links elsewhere.
    """
    return folder_paths.get_save_image_path(part, folder_paths.get_output_directory())[1]


def _highest_number(folder: Path, start: str, suffix: str) -> int:
    """Of the files that are there; 0 where none can be seen. Case counts as the drive's system counts it."""
    start, suffix = os.path.normcase(start), os.path.normcase(suffix)
    highest = 0
    for name in _or_none(os.listdir, folder) or ():
        name = os.path.normcase(name)
        number = name[len(start) : -len(suffix)]
        if name.startswith(start) and name.endswith(suffix) and number.isascii() and number.isdecimal():
            highest = max(highest, int(number[-_MOST_DIGITS:]))
    return highest


def _files_in(folder: Path, suffix: str) -> Iterator[str]:
    """All files below a folder and its links, every folder once: so a link to a folder above it ends.

    Links wait until the end, so that a folder with two names is listed by its own.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [str(folder)]
    while waiting:
        for parent, folders, names in os.walk(waiting.pop(0)):
            facts = _or_none(os.stat, parent)
            if facts is None or (facts.st_dev, facts.st_ino) in seen:
                folders.clear()
                continue
            seen.add((facts.st_dev, facts.st_ino))
            inside = (os.path.join(parent, name) for name in sorted(folders))
            waiting += (path for path in inside if os.path.islink(path))
            yield from (os.path.join(parent, name) for name in names if name.endswith(suffix))


def _or_none(ask: Callable[[Any], Any], about: Any) -> Any:
    try:
        return ask(about)
    except OSError:
        return None


def _is_text(name: str) -> bool:
    """Whether a name can be shown, sent to a browser and given to the system."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in name
