"""What is written is the safetensors format: the library reads it, and what the library writes is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from s2flow_core.files import layout
from s2flow_core.files.checked_tensors import read_checked
from s2flow_core.files.layout import DTYPES, laid_out, strict_json
from s2flow_core.files.written_whole import write_whole


def one_of_each() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(0, 2, (3, 5), generator=generator)
    made = {name: numbers.to(dtype) for name, dtype in DTYPES.items()}
    transposed = torch.rand(4, 6, generator=generator).T
    return made | {"scalar": torch.tensor(0.5), "empty": torch.zeros(0, 3), "transposed": transposed}


def test_the_library_reads_what_is_written(tmp_path: Path):
    write_whole(tmp_path / "a", one_of_each(), {"text": "größe"}, replace=True)
    loaded = load_file(tmp_path / "a")
    assert loaded.keys() == one_of_each().keys()
    for name, tensor in one_of_each().items():
        assert loaded[name].dtype == tensor.dtype and torch.equal(loaded[name], tensor)


def test_what_the_library_writes_is_read(tmp_path: Path):
    save_file({n: t.contiguous() for n, t in one_of_each().items()}, tmp_path / "a", {"text": "größe"})
    metadata, loaded = read_checked(tmp_path / "a", lambda header: header.metadata)
    assert metadata == {"text": "größe"}
    for name, tensor in one_of_each().items():
        assert loaded[name].dtype == tensor.dtype and torch.equal(loaded[name], tensor)


@pytest.mark.parametrize("piece", [8, 24, 1 << 20])
def test_pieces_make_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int):
    for module in ("layout", "checked_tensors"):
        monkeypatch.setattr(f"s2flow_core.files.{module}.PIECE_BYTES", piece)
    write_whole(tmp_path / "a", one_of_each(), {}, replace=True)
    _, loaded = read_checked(tmp_path / "a", lambda header: None)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in one_of_each().items())


def test_tensors_that_share_memory_are_written_each(tmp_path: Path):
    whole = torch.rand(4, 4)
    write_whole(tmp_path / "a", {"whole": whole, "again": whole, "row": whole[1]}, {}, replace=True)
    _, loaded = read_checked(tmp_path / "a", lambda header: None)
    assert torch.equal(loaded["again"], whole) and torch.equal(loaded["row"], whole[1])


def test_what_no_file_holds_is_refused_before_writing(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="complex64"):
        laid_out({"a": torch.zeros(2, dtype=torch.complex64)}, {})
    monkeypatch.setattr(layout, "MOST_HEADER_BYTES", 100)
    with pytest.raises(ValueError, match="header would have"):
        laid_out({"a": torch.zeros(2)}, {"text": "x" * 100})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "Infinity"),
        ('{"a": 1, "a": 2}', "twice"),
        ("[" * 100_000, "nested"),
        ('{"a": ' + "1" * 5000 + "}", "digits"),
    ],
)
def test_what_is_no_json_is_refused(text: str, reason: str):
    with pytest.raises(ValueError, match=reason):
        strict_json(text)
