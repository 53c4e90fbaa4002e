"""Runs a test file in Triton's interpreter, which needs no GPU, in a process of its own.

Triton decides when a kernel is defined whether it is compiled or interpreted, so one process cannot do both.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from comfyui_runner.installation import ROOT

IN_INTERPRETER = os.environ.get("TRITON_INTERPRET") == "1"

needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="Triton is not installed; it exists for Linux and Windows only"
)
only_in_interpreter = pytest.mark.skipif(
    not IN_INTERPRETER, reason="runs in the process that test_in_the_interpreter starts"
)


def pass_in_interpreter(file: str) -> None:
    """Fail with the inner run's report unless all tests of `file` pass in the interpreter."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", file],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.fail(done.stdout[-4000:] + done.stderr[-2000:], pytrace=False)
