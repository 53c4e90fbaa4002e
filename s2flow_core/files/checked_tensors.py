"""Reading a file of tensors that nobody vouches for: its header is checked before anything is allocated."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Collection
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from .layout import (
    DTYPES,
    LENGTH_BYTES,
    METADATA,
    MOST_HEADER_BYTES,
    PIECE_BYTES,
    bytes_of,
    strict_json,
    view_of,
)

_MOST_AXES = 16
_FIELDS = {"dtype", "shape", "data_offsets"}

Checked = TypeVar("Checked")


class UnreadableFile(ValueError):
    """A file that cannot be read, in the artist's words."""


class DamagedFile(UnreadableFile):
    """A file that was read and holds something else than it should; the message names what."""


@dataclass(frozen=True)
class StoredTensor:
    """What the header says of one tensor. start: its first byte after the header."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class FileHeader:
    """A file's metadata and what tensors it holds; consistent with the file's size, nothing read yet."""

    metadata: dict[str, str]
    tensors: dict[str, StoredTensor]

    def require_names(self, required: Collection[str], optional: Collection[str] = ()) -> None:
        """Raise a DamagedFile unless these tensors are there, and none but these and the optional ones."""
        missing = sorted(set(required) - set(self.tensors))
        foreign = sorted(set(self.tensors) - set(required) - set(optional))
        if missing:
            raise DamagedFile(f"the tensor {missing[0]!a} is missing")
        if foreign:
            raise DamagedFile(f"the tensor {foreign[0]!a} does not belong into it")

    def require_form(
        self, name: str, dtypes: Collection[torch.dtype], shape: tuple[int | None, ...]
    ) -> tuple[int, ...]:
        """A tensor's shape; a DamagedFile unless it has one of the dtypes and this shape.

        shape: None stands for any length of at least 1.
        """
        self.require_names((name,), self.tensors)
        found = self.tensors[name]
        if found.dtype not in dtypes:
            raise DamagedFile(f"the tensor {name!a} has dtype {found.dtype}")
        fits = len(found.shape) == len(shape) and all(
            length >= 1 if wanted is None else length == wanted
            for length, wanted in zip(found.shape, shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if length is None else str(length) for length in shape)
            raise DamagedFile(f"the tensor {name!a} has shape {found.shape} instead of ({wanted})")
        return found.shape

    def json(self, key: str) -> Any:
        """A metadata entry that holds JSON; a DamagedFile if it is missing or no strict JSON."""
        if key not in self.metadata:
            raise DamagedFile(f"the entry {key!a} is missing")
        try:
            return strict_json(self.metadata[key])
        except ValueError as problem:
            raise DamagedFile(f"the entry {key!a} is no JSON: {problem}") from problem


def read_header(path: str | Path) -> FileHeader:
    """A file's header alone, checked against the file's size; errors as `read_checked`."""
    return read_checked(path, lambda header: header, only_header=True)[0]


def read_checked(
    path: str | Path, check: Callable[[FileHeader], Checked], only_header: bool = False
) -> tuple[Checked, dict[str, Tensor]]:
    """What `check` made of the header, and the tensors: CPU, finite, in memory of their own.

    `check` raises a DamagedFile (its reason alone) for a header that does not fit; only when it returns is
    memory allocated, never more than the file's size. Raises UnreadableFile where the file is missing or may
    not be read, DamagedFile where anything in it is wrong; both messages name the file. What else `check`
    raises goes through.
    """
    path = Path(path)
    try:
        with _regular_file(path) as file:
            header, start = _header_of(file)
            checked = check(header)
            if only_header:
                return checked, {}
            return checked, {name: _read(file, start, name, t) for name, t in header.tensors.items()}
    except DamagedFile as problem:
        raise DamagedFile(f"{path.name} is damaged or was not written completely: {problem}.") from problem
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise UnreadableFile(f"{path} cannot be read: {reason}.") from problem


def _regular_file(path: Path) -> BufferedReader:
    """Opened for reading; a pipe or a device would wait or never end."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise UnreadableFile(f"{path} is no file.")
    return open(path, "rb")


def _header_of(file: BufferedReader) -> tuple[FileHeader, int]:
    """The header, and where the tensors' bytes start."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    start = LENGTH_BYTES + length
    if size < LENGTH_BYTES + 2 or start > size:
        raise DamagedFile(f"{size} bytes are too few")
    if length > MOST_HEADER_BYTES:
        raise DamagedFile(f"its header has {length} bytes, more than the {MOST_HEADER_BYTES} allowed")
    try:
        entries = strict_json(file.read(length))
    except ValueError as problem:
        raise DamagedFile(f"its header is no JSON: {problem}") from problem
    if not isinstance(entries, dict):
        raise DamagedFile("its header is no JSON object")
    named = cast(dict[str, Any], entries)
    metadata = _metadata_of(named.pop(METADATA, {}))
    tensors = {name: _stored(name, entry) for name, entry in named.items()}
    _require_no_gaps(tensors, size - start)
    return FileHeader(metadata, tensors), start


def _metadata_of(entries: Any) -> dict[str, str]:
    if not isinstance(entries, dict):
        raise DamagedFile("its metadata is no JSON object")
    metadata = cast(dict[str, Any], entries)
    if not all(isinstance(value, str) for value in metadata.values()):
        raise DamagedFile("its metadata holds something else than text")
    return metadata


def _stored(name: str, entry: Any) -> StoredTensor:
    """One tensor's entry; its bytes' end must be what dtype and shape say."""
    if not isinstance(entry, dict) or cast(dict[str, Any], entry).keys() != _FIELDS:
        raise DamagedFile(f"the entry of tensor {name!a} is incomplete")
    fields = cast(dict[str, Any], entry)
    shape, offsets = _lengths(fields["shape"]), _lengths(fields["data_offsets"])
    dtype = DTYPES.get(fields["dtype"]) if isinstance(fields["dtype"], str) else None
    if dtype is None:
        raise DamagedFile(f"the tensor {name!a} has an unknown dtype")
    if shape is None or len(shape) > _MOST_AXES or offsets is None or len(offsets) != 2:
        raise DamagedFile(f"the shape of tensor {name!a} makes no sense")
    stored = StoredTensor(dtype, shape, offsets[0])
    if offsets[1] - offsets[0] != stored.size:
        raise DamagedFile(f"the tensor {name!a} has another number of bytes than its shape needs")
    return stored


def _lengths(value: Any) -> tuple[int, ...] | None:
    """A list of whole numbers of at least 0; None for anything else."""
    if not isinstance(value, list):
        return None
    numbers = cast(list[Any], value)
    if not all(type(number) is int and 0 <= number < 1 << 62 for number in numbers):
        return None
    return tuple(numbers)


def _require_no_gaps(tensors: dict[str, StoredTensor], size: int) -> None:
    """The tensors fill the file one after the other: none is larger than it, and no two share bytes."""
    end = 0
    for stored in sorted(tensors.values(), key=lambda stored: (stored.start, stored.size)):
        if stored.start != end:
            raise DamagedFile("its tensors overlap or leave gaps")
        end += stored.size
    if end != size:
        raise DamagedFile(f"its tensors need {end} bytes, it has {size}")


def _read(file: BufferedReader, start: int, name: str, stored: StoredTensor) -> Tensor:
    """One tensor in memory of its own; a file that shrinks meanwhile is damaged, and so is a NaN."""
    try:
        tensor = torch.empty(stored.shape, dtype=stored.dtype)
    except RuntimeError as problem:
        raise UnreadableFile(
            f"{Path(file.name).name} needs {stored.size / 1e9:.1f} GB of memory for {name!a}, and that much "
            "is not free. Close other programs, or free ComfyUI's models and cache."
        ) from problem
    flat = bytes_of(tensor)
    file.seek(start + stored.start)
    for at in range(0, stored.size, PIECE_BYTES):
        piece = flat[at : at + PIECE_BYTES]
        if file.readinto(view_of(piece)) != piece.numel():
            raise DamagedFile(f"the tensor {name!a} ends too early")
        if stored.dtype.is_floating_point and not torch.isfinite(piece.view(stored.dtype)).all():
            raise DamagedFile(f"the tensor {name!a} holds NaN or infinity")
        if stored.dtype == torch.bool and piece.gt(1).any():
            raise DamagedFile(f"the tensor {name!a} holds something else than true and false")
    return tensor
