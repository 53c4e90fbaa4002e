"""Writing a file of tensors so that it is there whole or not at all, and nothing else is harmed."""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from torch import Tensor

if sys.platform != "win32":
    import fcntl

from .layout import laid_out, pieces

_UNFINISHED = re.compile(r"\.s2flow-[0-9a-f]{16}\.part")
_ABANDONED_SECONDS = 24 * 3600  # far more than writing takes, and than two machines' clocks differ
# What file systems answer that know no fsync, such as some network drives.
_NO_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ELOOP)


class NotWritten(OSError):
    """A file could not be written; the message says why and what to do. Earlier files are unharmed."""


class NameTaken(FileExistsError):
    """A file of this name is there already, and was left as it is."""


def write_whole(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, replace: bool
) -> None:
    """Write a safetensors file under a temporary name in the same folder, then give it its name.

    Until then, and where anything fails, a file of that name stays as it is. The bytes are on the disk when
    this returns. Folders that are missing are made; mode as the umask says. tensors: any device and layout.
    replace: False never touches a file that is there and raises NameTaken. Raises NotWritten, or
    ValueError for a dtype that `layout.DTYPES` lacks.
    """
    path = Path(path)
    with _unfinished(path, tensors, metadata) as unfinished:
        if replace:
            os.replace(unfinished, path)
        else:
            _name_exclusively(unfinished, path)


def write_numbered(
    pattern: Callable[[int], Path], first: int, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> Path:
    """Write a file under the first free name of pattern(first), pattern(first + 1), …; returns that name.

    Another writer may take numbers at the same moment, in this or another process: each gets its own.
    Otherwise as `write_whole`.
    """
    with _unfinished(pattern(first), tensors, metadata) as unfinished:
        for number in count(first):
            with suppress(NameTaken):
                _name_exclusively(unfinished, pattern(number))
                return pattern(number)
    raise AssertionError("numbers do not end")


@contextmanager
def _unfinished(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> Generator[Path, None, None]:
    """The complete file under a temporary name in `path`'s folder; gone again after the block."""
    folder = path.parent
    # Short, because the file's own name may already be as long as names can be.
    unfinished = folder / f".s2flow-{secrets.token_hex(8)}.part"
    header, in_order = laid_out(tensors, metadata)
    size = len(header) + sum(tensor.numel() * tensor.element_size() for tensor in in_order)
    locked = None
    try:
        with told(path, size):
            folder.mkdir(parents=True, exist_ok=True)
            remove_abandoned(folder)
            with open(unfinished, "xb") as file:
                locked = _keep_locked(file.fileno())
                file.write(header)
                for tensor in in_order:
                    for piece in pieces(tensor):
                        file.write(piece)
                file.flush()
                _to_disk(file.fileno())
            yield unfinished
            _folder_to_disk(folder)
    finally:
        with suppress(OSError):
            unfinished.unlink()
        if locked is not None:
            os.close(locked)


@contextmanager
def told(path: Path, size: int = 0) -> Generator[None, None, None]:
    """Work on a file of `size` bytes; what the system refuses becomes a NotWritten with a sentence."""
    try:
        yield
    except (NameTaken, NotWritten):
        raise
    except OSError as problem:
        raise NotWritten(_sentence(problem, path, size)) from problem


def _name_exclusively(unfinished: Path, path: Path) -> None:
    """Give the file its name; raises NameTaken where something has that name."""
    try:
        with _taken(path):
            os.link(unfinished, path)
    except NameTaken:
        raise
    except OSError:
        # No hard links on this drive (FAT, some network drives): the name is reserved, then taken over.
        with _taken(path):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            os.replace(unfinished, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


@contextmanager
def _taken(path: Path) -> Generator[None, None, None]:
    try:
        yield
    except FileExistsError as problem:
        raise NameTaken(f"There already is a file {path}.") from problem


def _to_disk(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno not in _NO_FSYNC:
            raise


def _folder_to_disk(folder: Path) -> None:
    """Keeps the new name through a power cut, where the system lets folders be opened (not on Windows)."""
    # The file is whole and has its name: whatever is reported now, it was written.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_abandoned(folder: Path) -> None:
    """Removes what a writer left that was killed: whole copies of a run, hidden by their name."""
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):
                left = folder / name
                if _UNFINISHED.fullmatch(name) and _is_abandoned(left):
                    left.unlink()
                    logging.info("S²Flow removed %s, left by a run that was killed while it saved.", left)


def _is_abandoned(unfinished: Path) -> bool:
    """Whether nobody writes to it any more: its writer holds a lock from before the first byte on."""
    about = unfinished.stat()
    if time.time() - about.st_mtime > _ABANDONED_SECONDS:
        return True
    if sys.platform == "win32":
        return True  # no file is removed there that somebody has open
    if not about.st_size:
        return False
    descriptor = os.open(unfinished, os.O_RDONLY)
    try:
        return _lock(descriptor)
    finally:
        os.close(descriptor)


def _keep_locked(descriptor: int) -> int | None:
    """A descriptor that holds a lock until it is closed; Windows renames no file that is open."""
    if sys.platform == "win32":
        return None
    _lock(descriptor)
    return os.dup(descriptor)


def _lock(descriptor: int) -> bool:
    """Whether the file is ours now; never where locks are unknown, as on some network drives."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sentence(problem: OSError, path: Path, size: int) -> str:
    """What went wrong and what to do, for the artist."""
    if problem.errno in _FULL:
        reason = f"the drive is full: {size / 1e9:.3g} GB are needed{_free(path.parent)}. Free some space"
    elif problem.errno in _FORBIDDEN:
        reason = f"{path.parent} may not be written to ({problem.strerror}). Give ComfyUI the right to"
    elif problem.errno in _GONE:
        reason = f"the folder {path.parent} is gone, or on a drive that is not connected. Bring it back"
    elif problem.errno == errno.ENAMETOOLONG:
        reason = "the name is too long. Choose a shorter one"
    else:
        reason = f"the system says: {problem.strerror or problem}. Mend that or choose another folder"
    return f"{path} was not written: {reason}, then save again. Earlier files are unharmed."


def _free(folder: Path) -> str:
    with suppress(OSError):
        return f", {shutil.disk_usage(folder).free / 1e9:.3g} GB are free"
    return ""
