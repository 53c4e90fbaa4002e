"""The store: a result is there once and whole; one driver; a full disk is told."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from farm import store as store_file
from farm.jobs import LARGE, PREVIEW, Job
from farm.refusal import Refusal
from farm.store import Store, opened_store

JOB = Job(PREVIEW, "a" * 64, "clip")


def made(store: Store, job: Job, text: str, attempt: int = 1) -> Path:
    folder = store.work_folder(job, attempt)
    folder.mkdir()
    (folder / "result.json").write_text(f'{{"made": "{text}"}}')
    return folder


def test_the_first_of_two_results_stays(tmp_path):
    with opened_store(tmp_path) as store:
        first, second = made(store, JOB, "first"), made(store, JOB, "second", 2)
        assert not store.is_committed(JOB)
        assert store.commit(JOB, first) is True
        assert store.commit(JOB, second) is False
        assert store.facts(JOB) == {"made": "first"}
        assert not first.exists() and not second.exists()
        assert store.is_committed(JOB) and store.has_preview(JOB.key)
        assert not store.is_committed(Job(LARGE, JOB.key))


def test_another_run_finds_results_and_removes_what_was_half_done(tmp_path):
    with opened_store(tmp_path) as store:
        store.commit(JOB, made(store, JOB, "first"))
        left = made(store, Job(PREVIEW, "b" * 64), "half")
    with opened_store(tmp_path) as store:
        assert store.is_committed(JOB) and not left.exists()


def test_failures_are_kept_until_made_or_retried(tmp_path):
    other = Job(LARGE, "b" * 64)
    with opened_store(tmp_path) as store:
        store.fail(JOB, "no memory")
        store.fail(other, "no file")
        assert store.failures() == {JOB.key: "no memory", other.key: "no file"}
        store.commit(JOB, made(store, JOB, "at last"))
        assert store.failures() == {other.key: "no file"}
        assert store.forget_failures() == 1
        assert store.failures() == {}


def test_a_second_driver_is_refused_with_host_and_process(tmp_path):
    refused = pytest.raises(Refusal, match=rf"Another driver .* process {os.getpid()} on")
    with opened_store(tmp_path), refused, opened_store(tmp_path):
        pass
    with opened_store(tmp_path):
        pass


def test_a_killed_driver_keeps_nobody_out(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from farm.store import opened_store\n"
        "with opened_store(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(store_file.__file__).parent.parent
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root)
    assert (tmp_path / "lock.holder").exists() or (tmp_path / "lock").exists()
    with opened_store(tmp_path):
        pass


def test_too_little_space_is_told_before_anything_runs(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**12, 10**12, 5 * 10**8))
    refused = pytest.raises(Refusal, match=r"too full: 0.50 GB are free, and 1 GB are needed")
    with refused, opened_store(tmp_path):
        pass


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "is full. Free"), (errno.EDQUOT, "is full"), (errno.EROFS, "Read-only")],
)
def test_a_drive_that_takes_no_more_is_told_and_harms_nothing(tmp_path, monkeypatch, number: int, said: str):
    other = Job(PREVIEW, "b" * 64)
    with opened_store(tmp_path) as store:
        store.commit(JOB, made(store, JOB, "first"))
        folder = made(store, other, "second")

        def full(source, target):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "rename", full)
        with pytest.raises(Refusal, match=said):
            store.commit(other, folder)
        assert store.is_committed(JOB) and not store.is_committed(other)
        assert not store.result(other).exists()


def test_a_store_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refusal, match="cannot be written"), opened_store(tmp_path / "file" / "store"):
        pass
