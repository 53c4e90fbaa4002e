"""The last good checkpoint survives a full disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from comfyui_runner.installation import ROOT

FULL_DISK = """
import resource, sys, torch
from pathlib import Path
from training import checkpoints

path = Path(sys.argv[1])
checkpoints.save_atomically({"step": 1}, path)
# From here on no file may grow beyond 64 kB: the operating system refuses as a full disk does.
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    checkpoints.save_atomically({"weights": torch.zeros(100_000)}, path)
    print("written")
except (OSError, RuntimeError):
    print("refused")
print(torch.load(path)["step"], sorted(file.name for file in path.parent.iterdir()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the limit on file size is a Unix one")
def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path: Path):
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "run.pt")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split("\n")[:2] == ["refused", "1 ['run.pt']"]
