"""A file is there whole or not at all, what was there before survives, and faults are told in sentences."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from s2flow_core.files import written_whole
from s2flow_core.files.checked_tensors import read_checked
from s2flow_core.files.written_whole import NameTaken, NotWritten, write_numbered, write_whole


def write(path: Path, value: float = 1.0, size: int = 1000, replace: bool = True) -> None:
    write_whole(path, {"a": torch.full((size,), value)}, {"value": str(value)}, replace=replace)


def value_of(path: Path) -> float:
    metadata, tensors = read_checked(path, lambda header: header.metadata)
    assert (tensors["a"] == float(metadata["value"])).all()
    return float(metadata["value"])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def numbered(folder: Path) -> Callable[[int], Path]:
    return lambda number: folder / f"run_{number}"


@pytest.fixture
def small_drive(tmp_path: Path) -> Iterator[Path]:
    """A drive of 256 KiB."""
    folder = tmp_path / "drive"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("a small drive can be mounted by root alone")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_drive_keeps_the_last_good_file(small_drive: Path):
    write(small_drive / "run", 1.0)
    for size in (70_000, 1_000_000):
        with pytest.raises(NotWritten, match=r"drive is full: .* GB are needed, .* GB are free.*unharmed"):
            write(small_drive / "run", 2.0, size)
        with pytest.raises(NotWritten, match="drive is full"):
            write_numbered(numbered(small_drive), 1, {"a": torch.zeros(size)}, {})
    assert value_of(small_drive / "run") == 1.0 and names(small_drive) == ["run"]
    write(small_drive / "run", 3.0)
    assert value_of(small_drive / "run") == 3.0


FAULTS = {
    errno.ENOSPC: "drive is full",
    errno.EDQUOT: "drive is full",
    errno.EROFS: "may not be written to",
    errno.EACCES: "may not be written to",
    errno.ENOENT: "is gone",
    errno.ENXIO: "is gone",
    errno.ENAMETOOLONG: "too long",
    errno.EIO: "the system says: Input/output error",
}


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
@pytest.mark.parametrize("number", FAULTS, ids=[errno.errorcode[number] for number in FAULTS])
def test_any_fault_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str):
    write(tmp_path / "run", 1.0)

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        if call == "open":
            patch.setattr(written_whole, "open", fail, raising=False)
        else:
            patch.setattr(os, call, fail)
        with pytest.raises(NotWritten, match=f"run was not written: .*{FAULTS[number]}.*unharmed"):
            write(tmp_path / "run", 2.0)
    assert value_of(tmp_path / "run") == 1.0 and names(tmp_path) == ["run"]


def test_a_drive_without_fsync_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_fsync(_descriptor: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", no_fsync)
    write(tmp_path / "run")
    assert value_of(tmp_path / "run") == 1.0


def test_a_drive_that_turns_read_only(small_drive: Path):
    write(small_drive / "run", 1.0)
    subprocess.run(["mount", "-o", "remount,ro", str(small_drive)], check=True)
    with pytest.raises(NotWritten, match=r"may not be written to .Read-only file system"):
        write(small_drive / "run", 2.0)
    assert value_of(small_drive / "run") == 1.0 and names(small_drive) == ["run"]


def test_a_folder_that_may_not_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Root may write everywhere, so root tries it as nobody."""
    write(tmp_path / "run", 1.0)
    tmp_path.chmod(0o555)
    # Relative, because nobody may not pass the folders above.
    monkeypatch.chdir(tmp_path)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        with pytest.raises(NotWritten, match=r"may not be written to .Permission denied"):
            write(Path("run"), 2.0)
    finally:
        os.seteuid(user)
        tmp_path.chmod(0o755)
    assert value_of(tmp_path / "run") == 1.0 and names(tmp_path) == ["run"]


def test_a_folder_that_is_removed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, write_to_disk = tmp_path / "out", os.fsync

    def remove(descriptor: int) -> None:
        write_to_disk(descriptor)
        shutil.rmtree(folder, ignore_errors=True)

    monkeypatch.setattr(os, "fsync", remove)
    with pytest.raises(NotWritten, match="is gone, or on a drive that is not connected"):
        write(folder / "run")
    with pytest.raises(NotWritten, match="is gone"):
        write_numbered(numbered(folder), 1, {"a": torch.zeros(3)}, {})
    assert names(tmp_path) == []


def test_a_folder_that_is_a_link_into_nowhere(tmp_path: Path):
    (tmp_path / "unplugged").symlink_to(tmp_path / "drive" / "runs")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("")
    for name in ("unplugged", "loop", "file"):
        with pytest.raises(NotWritten, match="is gone, or on a drive that is not connected"):
            write(tmp_path / name / "run")
    assert names(tmp_path) == ["file", "loop", "unplugged"]


def test_missing_folders_are_made_and_long_names_written(tmp_path: Path):
    path = tmp_path / "a" / "b" / ("x" * 255)
    write(path)
    assert value_of(path) == 1.0
    with pytest.raises(NotWritten, match="name is too long"):
        write(tmp_path / ("x" * 256))


def test_a_name_that_is_taken_is_left(tmp_path: Path):
    write(tmp_path / "run", 1.0)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    for name in ("run", "dangling", "folder"):
        with pytest.raises(NameTaken):
            write(tmp_path / name, 2.0, replace=False)
    assert value_of(tmp_path / "run") == 1.0
    assert names(tmp_path) == ["dangling", "folder", "run"]


def no_links(*_: object) -> None:
    """What a FAT drive answers."""
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_many_writers_at_once_overwrite_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool):
    if not links:
        monkeypatch.setattr(os, "link", no_links)

    def save(value: int) -> tuple[int, Path]:
        tensors = {"a": torch.full((1000,), float(value))}
        return value, write_numbered(numbered(tmp_path), 1, tensors, {"value": str(value)})

    with ThreadPoolExecutor(8) as pool:
        saved = list(pool.map(save, range(24)))
    assert sorted(path.name for _, path in saved) == sorted(f"run_{number}" for number in range(1, 25))
    assert all(value_of(path) == value for value, path in saved)
    assert len(names(tmp_path)) == 24


def save_some(folder: Path) -> list[tuple[int, str]]:
    """What one process of several does: ten files, each marked with the process."""
    mark = os.getpid()
    tensors = {"a": torch.full((1000,), float(mark))}
    made = [write_numbered(numbered(folder), 1, tensors, {"value": str(mark)}) for _ in range(10)]
    return [(mark, path.name) for path in made]


def test_several_processes_overwrite_nothing(tmp_path: Path):
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(3, mp_context=context) as pool:
        saved = [pair for pairs in pool.map(save_some, [tmp_path] * 6) for pair in pairs]
    assert sorted(name for _, name in saved) == names(tmp_path) and len(saved) == 60
    assert all(value_of(tmp_path / name) == mark for mark, name in saved)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_the_umask_decides_who_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: int, mode: int, links: bool
):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    before = os.umask(mask)
    try:
        write(tmp_path / "run")
        write_numbered(numbered(tmp_path), 1, {"a": torch.zeros(3)}, {})
    finally:
        os.umask(before)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("run", "run_1")} == {mode}


def test_a_killed_writers_leftovers_go_and_a_living_ones_stay(tmp_path: Path):
    """What is locked has a writer, and so may have what holds nothing yet; after a day nobody has."""
    left, old, empty, held = (tmp_path / f".s2flow-{letter * 16}.part" for letter in "abcd")
    others = tmp_path / ".s2flow-notes.part"
    for path in (left, old, held, others):
        path.write_bytes(b"half")
    empty.touch()
    os.utime(others, (0, time.time() - 2 * 24 * 3600))
    os.utime(old, (0, time.time() - 2 * 24 * 3600))
    with open(held, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write(tmp_path / "run")
    assert names(tmp_path) == sorted([empty.name, held.name, others.name, "run"])


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "run", 1.0)

    def interrupt(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "run", 2.0)
    assert value_of(tmp_path / "run") == 1.0 and names(tmp_path) == ["run"]
