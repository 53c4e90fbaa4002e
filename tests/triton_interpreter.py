"""Where the tests of kernels run: compiled on a GPU, or in Triton's interpreter, in a process of its own.

Triton decides when a kernel is defined whether it is compiled or interpreted, so one process cannot do both.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from comfyui_runner.installation import ROOT

IN_INTERPRETER = os.environ.get("TRITON_INTERPRET") == "1"
ON_A_GPU = not IN_INTERPRETER and find_spec("triton") is not None and torch.cuda.is_available()
DEVICE = torch.device("cuda", 0) if ON_A_GPU else torch.device("cpu")
"""Where the kernels find their tensors."""

needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="Triton is not installed; it exists for Linux and Windows only"
)
starts_interpreter = pytest.mark.skipif(
    IN_INTERPRETER or ON_A_GPU, reason="the kernels run in this process, interpreted or on its GPU"
)
only_where_kernels_run = pytest.mark.skipif(
    not (IN_INTERPRETER or ON_A_GPU),
    reason="runs on a GPU, or in the process that test_in_the_interpreter starts",
)
only_on_a_gpu = pytest.mark.skipif(not ON_A_GPU, reason="runs kernels as they are launched on a GPU")


def on_device(x: Tensor) -> Tensor:
    """The same numbers at the same distances in memory, where the kernels run."""
    if x.device == DEVICE:
        return x
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=DEVICE).copy_(x)


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
