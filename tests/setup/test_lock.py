"""Two set-ups never write at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from setup.lock import exclusive
from setup.places import ROOT


def test_the_second_set_up_waits_for_the_first(tmp_path):
    lock = tmp_path / "lock"
    code = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path; from setup.lock import exclusive\n"
        f"with exclusive(Path({str(lock)!r})): print(time.monotonic(), flush=True)"
    )
    with exclusive(lock):
        other = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert other.stderr is not None
        assert f"(process {os.getpid()})" in other.stderr.readline()
        released = time.monotonic()
    out, _ = other.communicate(timeout=30)
    assert float(out) >= released


def test_an_installer_that_outlives_the_set_up_keeps_the_lock(tmp_path):
    with exclusive(tmp_path / "lock") as descriptor:
        child = subprocess.Popen(["sleep", "1"], pass_fds=(descriptor,))
    begun = time.monotonic()
    with exclusive(tmp_path / "lock"):
        assert child.poll() is not None or time.monotonic() - begun > 0.5
    child.wait()
