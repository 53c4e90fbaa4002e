"""A full disk is foreseen, and told from other errors."""

from __future__ import annotations

import errno
import shutil
from types import SimpleNamespace

import pytest

from setup import disk
from setup.refusal import Refusal


def test_a_disk_that_is_too_full_is_refused_before_anything_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=3 * 10**9))
    with pytest.raises(Refusal, match=r"needs 12 GB.*3\.0 GB are free.*Free 9\.0 GB more"):
        disk.require_free_space(tmp_path, 12, "the set-up")
    disk.require_free_space(tmp_path, 2, "the set-up")


def test_a_full_disk_is_told_from_other_errors():
    assert disk.is_disk_full(OSError(errno.ENOSPC, "x"))
    assert not disk.is_disk_full(OSError(errno.ENOENT, "x"))
    assert not disk.is_disk_full(ValueError())
