"""The safetensors format: eight bytes of header length, a JSON header, the tensors' bytes.

Written and read here and not by the library, because the library maps what it reads into memory (a file that
shrinks meanwhile ends the process), gives every file mode 600, leaves temporary files of its own after a
crash, and turns the system's error numbers into text. The library reads these files and these functions
read the library's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor

LENGTH_BYTES = 8
METADATA = "__metadata__"
# The header of a record has some kilobytes, that of a stopped run 500 bytes for each step and layer.
MOST_HEADER_BYTES = 8 << 20
PIECE_BYTES = 16 << 20  # of one read or write: small against memory, large against the cost of a call

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def laid_out(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[bytes, list[Tensor]]:
    """The header of a file of these tensors, length included, and the tensors in the order of their bytes.

    Any device and layout. Raises ValueError for a dtype that is not in `DTYPES`, or a header that would be
    refused on reading.
    """
    # Wide types first, so that every tensor starts at a multiple of its item size.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {METADATA: dict(metadata)}
    end = 0
    for name in names:
        tensor = tensors[name]
        if tensor.dtype not in _NAMES:
            raise ValueError(f"The tensor '{name}' has dtype {tensor.dtype}, which files do not hold.")
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MOST_HEADER_BYTES:
        raise ValueError(
            f"The file's header would have {len(text)} bytes; at most {MOST_HEADER_BYTES} are read."
        )
    return len(text).to_bytes(LENGTH_BYTES, "little") + text, [tensors[name] for name in names]


def pieces(tensor: Tensor) -> Iterator[memoryview]:
    """A tensor's bytes, `PIECE_BYTES` at a time."""
    flat = bytes_of(tensor.detach().to("cpu").contiguous())
    for start in range(0, flat.numel(), PIECE_BYTES):
        yield view_of(flat[start : start + PIECE_BYTES])


def bytes_of(tensor: Tensor) -> Tensor:
    """The same memory as (bytes,) uint8; the tensor lies on the CPU without gaps."""
    return tensor.reshape(-1).view(torch.uint8)


def view_of(flat: Tensor) -> memoryview:
    """The memory of `bytes_of` a tensor, for files to read from and write to."""
    # numpy's arrays are buffers, which their type says from Python 3.12 on.
    return memoryview(cast(Any, flat.numpy()))


def strict_json(text: str | bytes) -> Any:
    """A JSON value without what JSON does not know: NaN, infinity, a name twice in one object.

    Raises ValueError, also for a value that is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_no_number, object_pairs_hook=_no_name_twice)
    except RecursionError as problem:
        raise ValueError("its header is nested too deeply") from problem


def _no_number(constant: str) -> float:
    raise ValueError(f"its header holds {constant}")


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its header has a name twice")
    return found
