"""A header is checked against the file's size and the reader's wishes before anything is allocated."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from s2flow_core.files.checked_tensors import (
    DamagedFile,
    FileHeader,
    UnreadableFile,
    read_checked,
    read_header,
)
from s2flow_core.files.layout import MOST_HEADER_BYTES
from s2flow_core.files.written_whole import write_whole

FLOAT = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def file_of(path: Path, header: Any, data: bytes, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


@pytest.fixture
def no_allocation(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("allocated before the header was checked")

    monkeypatch.setattr(torch, "empty", refuse)


BROKEN = {
    "no object": [],
    "no JSON": b"{]",
    "not UTF-8": b'{"\xff": 1}',
    "NaN": b'{"a": NaN}',
    "nested": b"[" * 50_000,
    "entry is no object": {"a": 3},
    "field missing": {"a": {"dtype": "F32", "shape": [2]}},
    "field too many": {"a": FLOAT | {"strides": [1]}},
    "unknown dtype": {"a": FLOAT | {"dtype": "F33"}},
    "dtype no text": {"a": FLOAT | {"dtype": ["F32"]}},
    "negative length": {"a": FLOAT | {"shape": [-2]}},
    "negative lengths": {"a": FLOAT | {"shape": [-1, -2]}},
    "fraction": {"a": FLOAT | {"shape": [2.0]}},
    "true": {"a": FLOAT | {"shape": [True, 2]}},
    "huge": {"a": FLOAT | {"shape": [1 << 61, 1 << 61, 1 << 61]}},
    "beyond integers": {"a": FLOAT | {"shape": [1 << 70]}},
    "many axes": {"a": FLOAT | {"shape": [2] + [1] * 40}},
    "offsets backwards": {"a": FLOAT | {"data_offsets": [8, 0]}},
    "three offsets": {"a": FLOAT | {"data_offsets": [0, 8, 8]}},
    "offsets no list": {"a": FLOAT | {"data_offsets": 8}},
    "short of bytes": {"a": FLOAT | {"data_offsets": [0, 4]}},
    "gap": {"a": FLOAT | {"data_offsets": [4, 12]}},
    "overlap": {"a": FLOAT, "b": FLOAT},
    "beyond the end": {"a": FLOAT | {"shape": [1 << 40], "data_offsets": [0, 1 << 42]}},
    "rest": {"a": FLOAT | {"shape": [1], "data_offsets": [0, 4]}},
    "metadata no object": {"__metadata__": [], "a": FLOAT},
    "metadata no text": {"__metadata__": {"version": 1}, "a": FLOAT},
}


@pytest.mark.usefixtures("no_allocation")
@pytest.mark.parametrize("header", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_header_is_refused_before_anything_is_allocated(tmp_path: Path, header: Any):
    with pytest.raises(DamagedFile, match=r"run\.x is damaged or was not written completely: .+\.$"):
        read_checked(file_of(tmp_path / "run.x", header, bytes(8)), lambda header: None)


@pytest.mark.parametrize("length", [0, 1 << 20, (1 << 64) - 1])
def test_a_header_length_that_cannot_be_is_refused(tmp_path: Path, length: int):
    with pytest.raises(DamagedFile):
        read_header(file_of(tmp_path / "run.x", {"a": FLOAT}, bytes(8), length))


def test_a_header_is_not_read_beyond_its_limit(tmp_path: Path):
    path = tmp_path / "run.x"
    with path.open("wb") as file:
        file.write((MOST_HEADER_BYTES + 8).to_bytes(8, "little"))
        file.truncate(MOST_HEADER_BYTES + 100)  # sparse
    with pytest.raises(DamagedFile, match="more than"):
        read_header(path)


def test_every_shortened_file_is_refused(tmp_path: Path):
    whole = file_of(tmp_path / "whole", {"a": FLOAT}, bytes(8)).read_bytes()
    for length in range(len(whole)):
        (tmp_path / "run.x").write_bytes(whole[:length])
        with pytest.raises(DamagedFile):
            read_checked(tmp_path / "run.x", lambda header: None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_refused(tmp_path: Path, dtype: torch.dtype, value: float):
    tensor = torch.zeros(70, dtype=dtype)
    tensor[-1] = value
    write_whole(tmp_path / "run.x", {"a": tensor}, {}, replace=True)
    with pytest.raises(DamagedFile, match="'a' holds NaN or infinity"):
        read_checked(tmp_path / "run.x", lambda header: None)


def test_a_boolean_of_another_value_is_refused(tmp_path: Path):
    header = {"a": {"dtype": "BOOL", "shape": [3], "data_offsets": [0, 3]}}
    with pytest.raises(DamagedFile, match="true and false"):
        read_checked(file_of(tmp_path / "run.x", header, bytes([0, 1, 2])), lambda header: None)


def test_the_caller_decides_before_anything_is_allocated(tmp_path: Path, no_allocation: None):
    file_of(tmp_path / "run.x", {"a": FLOAT}, bytes(8))

    def another_run(header: FileHeader) -> None:
        raise KeyError("another run")

    with pytest.raises(KeyError, match="another run"):
        read_checked(tmp_path / "run.x", another_run)
    for wrong in (((torch.float16,), (2,)), ((torch.float32,), (3,)), ((torch.float32,), (None, None))):
        with pytest.raises(DamagedFile, match=r"run\.x is damaged.*'a' has"):
            read_checked(tmp_path / "run.x", lambda header, form=wrong: header.require_form("a", *form))
    with pytest.raises(DamagedFile, match="'b' is missing"):
        read_checked(tmp_path / "run.x", lambda header: header.require_names(["a", "b"]))
    with pytest.raises(DamagedFile, match="'a' does not belong"):
        read_checked(tmp_path / "run.x", lambda header: header.require_names([], ["c"]))
    with pytest.raises(DamagedFile, match="entry 'values' is missing"):
        read_checked(tmp_path / "run.x", lambda header: header.json("values"))


def test_what_fits_is_accepted(tmp_path: Path):
    write_whole(tmp_path / "run.x", {"a": torch.ones(2, 3)}, {"values": '{"n": [1, 2]}'}, replace=True)

    def check(header: FileHeader) -> Any:
        header.require_names(["a"], ["b"])
        return header.require_form("a", (torch.float32,), (None, 3)), header.json("values")

    assert read_checked(tmp_path / "run.x", check)[0] == ((2, 3), {"n": [1, 2]})
    assert read_header(tmp_path / "run.x").tensors["a"].size == 24


def test_what_is_no_file_is_said(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("pipe", ".", "dangling", "loop", "missing", "x" * 300):
        with pytest.raises(UnreadableFile, match=r"is no file|cannot be read"):
            read_header(tmp_path / name)


def test_a_file_that_outgrows_the_memory_is_said(tmp_path: Path):
    path, length = tmp_path / "run.x", 1 << 41
    file_of(path, {"a": {"dtype": "F32", "shape": [length], "data_offsets": [0, 4 * length]}}, b"")
    try:
        os.truncate(path, path.stat().st_size + 4 * length)  # sparse
    except OSError:
        pytest.skip("this file system holds no sparse file of 8 TB")
    with pytest.raises(UnreadableFile, match=r"run\.x needs 8796\.1 GB of memory"):
        read_checked(path, lambda header: None)


def test_a_tensor_stays_when_its_file_shrinks(tmp_path: Path):
    write_whole(tmp_path / "run.x", {"a": torch.ones(100_000)}, {}, replace=True)
    _, tensors = read_checked(tmp_path / "run.x", lambda header: None)
    os.truncate(tmp_path / "run.x", 0)
    assert tensors["a"].sum() == 100_000
