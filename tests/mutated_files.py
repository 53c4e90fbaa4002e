"""Files as damage and ill will leave them: bytes, header, values or numbers changed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from recorded_runs import reach, recorded

from s2flow_core.latent.held_latent import HeldLatent
from s2flow_core.trajectory.files import save_trajectory
from s2flow_core.trajectory.trajectory import Trajectory

JUNK: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3, 1 << 31, 1 << 63, -(1 << 63), 1 << 200, 0.5, -0.0, 1e300),
    *(float("nan"), float("inf"), "", "F32", "F16", "I64", "BOOL", "\u03c3", "\ud800", "../../etc", "NaN"),
    *([], {}, [0], [1, 2, 3], [0, 0, 0], [[]], {"a": {}}, [1 << 40] * 3, "9" * 400),
]


def good_runs() -> list[Trajectory]:
    """One of each kind: bare, with all that a file can hold, unfinished and in parts."""
    bare, full = recorded(), recorded(reach(with_error=True))
    mask = torch.ones(1, 1, *full.latent_shape[2:])
    full = dataclasses.replace(
        full,
        held=HeldLatent(torch.rand(full.latent_shape), mask / 2),
        beside=(torch.rand(1, 4, 2), torch.rand(1, 3)),
        boundaries=(2, 4),
    )
    return [bare, full, dataclasses.replace(recorded(reach()), boundaries=(1,))]


def bytes_of_run(run: Trajectory, folder: Path) -> bytes:
    save_trajectory(run, folder / "good")
    return (folder / "good").read_bytes()


@st.composite
def mutated(draw: st.DrawFn, files: list[bytes]) -> bytes:
    """One of the files after one to three changes."""
    changed = draw(st.sampled_from(files))
    for _ in range(draw(st.integers(1, 3))):
        change = draw(st.sampled_from([_bytes, _header, _values, _numbers]))
        changed = change(draw, changed)
    return changed


def _parts(file: bytes) -> tuple[dict[str, Any], bytes] | None:
    """The header and the rest; None once an earlier change has broken the header."""
    length = int.from_bytes(file[:8], "little")
    try:
        header = json.loads(file[8 : 8 + length])
    except (ValueError, RecursionError):
        return None
    return (header, file[8 + length :]) if isinstance(header, dict) else None


def _joined(header: Any, rest: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + rest


def _bytes(draw: st.DrawFn, file: bytes) -> bytes:
    """A piece overwritten, cut out, inserted or cut off; near the start, where the header is, or anywhere."""
    start = draw(st.integers(0, min(len(file), draw(st.sampled_from([16, 1500, len(file)])))))
    piece = draw(st.binary(min_size=1, max_size=8))
    ways = [
        file[:start] + piece + file[start + len(piece) :],
        file[:start] + file[start + len(piece) :],
        file[:start] + piece + file[start:],
        file[:start],
        file + piece,
    ]
    return draw(st.sampled_from(ways))


def _header(draw: st.DrawFn, file: bytes) -> bytes:
    parts = _parts(file)
    return file if parts is None else _joined(_changed(draw, parts[0]), parts[1])


def _values(draw: st.DrawFn, file: bytes) -> bytes:
    """Inside the metadata's own JSON."""
    parts = _parts(file)
    if parts is None:
        return file
    header, rest = parts
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("values"), str):
        return file
    try:
        values = json.loads(metadata["values"])
    except (ValueError, RecursionError):
        return file
    header["__metadata__"] = metadata | {"values": json.dumps(_changed(draw, values))}
    return _joined(header, rest)


def _numbers(draw: st.DrawFn, file: bytes) -> bytes:
    """NaN, infinity, zeros or ones over some numbers."""
    parts = _parts(file)
    if parts is None or not parts[1]:
        return file
    header, rest = parts
    start = draw(st.integers(0, len(rest) - 1)) & ~3
    number = draw(
        st.sampled_from([b"\0\0\xc0\x7f", b"\0\x7e\0\x7e", b"\0\0\x80\xff", b"\0\0\0\0", b"\xff" * 4])
    )
    data = number * draw(st.sampled_from([1, 2, 50]))
    return _joined(header, (rest[:start] + data + rest[start + len(data) :])[: len(rest)])


def _changed(draw: st.DrawFn, value: Any) -> Any:
    """One place in a JSON value replaced, removed, added or doubled."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(value)))
        way = draw(st.sampled_from(["inside", "inside", "inside", "remove", "add", "rename", "swap"]))
        if way == "inside":
            return value | {key: _changed(draw, value[key])}
        if way == "add":
            return value | {
                draw(st.sampled_from(["more", "held.mask", "beside.1", "reach.mass"])): value[key]
            }
        others = {name: item for name, item in value.items() if name != key}
        if way == "rename":
            return others | {key + draw(st.sampled_from(["x", ".0", "\0"])): value[key]}
        if way == "swap" and others:
            other = draw(st.sampled_from(sorted(others)))
            return value | {key: value[other], other: value[key]}
        return others
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], _changed(draw, value[at]), *value[at + 1 :]]
    if isinstance(value, int) and draw(st.booleans()):
        return value + draw(st.sampled_from([-8, -1, 1, 2, 8]))
    return draw(st.sampled_from(JUNK))
