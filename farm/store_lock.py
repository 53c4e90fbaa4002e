"""Keeps a second driver out of a store, and says who the first one is."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .refusal import Refusal

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_HOLDER = ".holder"


@contextmanager
def only_driver(path: Path) -> Iterator[None]:
    """Holds the lock file for the length of the block; the system lets go when the process dies.

    Raises Refusal at once where another driver, here or on another machine, holds it.
    """
    holder = path.with_suffix(_HOLDER)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _lock(descriptor):
            raise Refusal(
                f"Another driver works in {path.parent}: {_told(holder)}. Wait for it, or stop it there."
            )
        facts = {"host": socket.gethostname(), "process": os.getpid()}
        holder.write_text(json.dumps(facts), encoding="utf-8")
        yield
    finally:
        os.close(descriptor)


def _told(holder: Path) -> str:
    """The file may be half written: its writer holds the lock, not its content."""
    try:
        facts = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {facts['process']} on {facts['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "it has not said who it is yet"


def _lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except PermissionError:
        if sys.platform == "win32":
            return False
        raise
    except OSError as problem:
        raise Refusal(
            f"The drive of the store keeps no locks ({problem.strerror}); NFS needs version 4."
        ) from problem
    return True
