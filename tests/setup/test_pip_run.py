"""Failures of pip become sentences."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from setup import pip_run
from setup.lock import exclusive
from setup.refusal import Refusal


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("OSError: [Errno 28] No space left on device", "The disk ran full"),
        (
            "Failed to establish a new connection: [Errno -3] Temporary failure in name resolution",
            "needs the network",
        ),
        (
            "WARNING: Retrying after connection broken by 'ProxyError('Cannot connect to proxy.'",
            "needs the network",
        ),
        ("ERROR: No matching distribution found for torch==2.11.0", "offers no torch==2.11.0"),
        ("Collecting x\nERROR: something else", "pip ended with: Collecting x / ERROR: something else"),
    ],
)
def test_failures_of_pip_become_sentences(output, words, tmp_path):
    refusal = pip_run.explain(output, "Installing", tmp_path / "pip.log")
    assert words in str(refusal)
    assert "Traceback" not in str(refusal)


def test_pip_that_cannot_reach_its_index_is_a_refusal(monkeypatch, tmp_path):
    monkeypatch.setattr(pip_run, "generated_folder", lambda: tmp_path)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with exclusive(tmp_path / "lock") as lock, pytest.raises(Refusal, match="needs the network"):
        arguments = ["download", "--no-deps", "--retries", "1", "--dest", str(tmp_path), "nothing==1"]
        pip_run.run_pip(Path(sys.executable), arguments, "Fetching", lock)
    assert (tmp_path / "pip.log").read_text()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
