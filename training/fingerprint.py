"""Short names for what something was made from, so that it is never taken for something else."""

from __future__ import annotations

import hashlib
from pathlib import Path

_CHUNK = 2**24


def fingerprint(*parts: object) -> str:
    """16 hexadecimal digits that change with any of the parts' texts."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()[:16]


def file_fingerprint(path: Path) -> str:
    """16 hexadecimal digits of a file's content; its name and place do not count."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()[:16]
