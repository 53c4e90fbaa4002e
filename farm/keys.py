"""Names a result by its content, so that it is made once and found again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from .addresses import PREFIX, Json

PIECE = 1 << 20  # bytes
PIECES = 64
FileDigest = Callable[[str], str | None]


def key_of(prompt: Json, file_digest: FileDigest, preview: str = "") -> str:
    """64 hex digits: what runs, with which values and which input files.

    Titles and the names of saved files do not count. preview: of a large video, the key of its preview; the
    trajectory's file name does not count then. file_digest: of a value that names an input file, else None.
    """
    nodes = {}
    files = {}
    for key, node in prompt.items():
        inputs = {name: value for name, value in node["inputs"].items() if name != PREFIX}
        nodes[key] = [node["class_type"], inputs]
        for value in inputs.values():
            digest = file_digest(value) if isinstance(value, str) else None
            if digest is not None:
                files[value] = digest
    text = json.dumps([nodes, files, preview], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class InputFiles:
    """Digests of the files in the folder that workflows load from, each read once."""

    def __init__(self, folder: Path | None):
        self.folder = folder
        self._known: dict[str, str | None] = {}

    def digest(self, value: str) -> str | None:
        """Of the file that a value names; None where it names none."""
        if value not in self._known:
            self._known[value] = self._read(value)
        return self._known[value]

    def _read(self, value: str) -> str | None:
        # "picture.png [input]" is how ComfyUI writes a file with its folder.
        name = value.removesuffix(" [input]")
        if self.folder is None or not name or "\0" in name or "\n" in name:
            return None
        try:
            path = self.folder / name
            return whole_digest(path) if path.is_file() else None
        except OSError:
            return None  # longer than names can be: a prompt


def whole_digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        total = hashlib.sha256()
        while piece := file.read(PIECE):
            total.update(piece)
    return total.hexdigest()


def sampled_digest(path: Path) -> str:
    """sha256 of a model file's size and of 64 MiB spread over it, so that 30 GB take no minute.

    It tells one model from another and a broken copy from a whole one; it does not find one changed byte.
    """
    size = path.stat().st_size
    total = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for number in range(PIECES):
            file.seek(max(0, size - PIECE) * number // (PIECES - 1))
            total.update(file.read(PIECE))
            if size <= PIECE:
                break
    return total.hexdigest()


def pack_digest(root: Path) -> str:
    """sha256 of the pack's code: every Python file that ComfyUI can load from it."""
    return code_digest(root, [root / "nodes", root / "s2flow_core"])


def code_digest(root: Path, places: Iterable[Path]) -> str:
    """sha256 of Python files, each with its path below root. places: folders, or files themselves."""
    total = hashlib.sha256()
    for place in places:
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            total.update(os.fsencode(path.relative_to(root).as_posix()) + b"\0" + path.read_bytes())
    return total.hexdigest()
