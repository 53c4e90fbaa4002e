"""`python -m setup.arrows`: checks who may import whom; the contracts are in .importlinter.

Inside ComfyUI the repository is one package, and its folders import each other relatively. So that the
linter sees it as that, it is linked under the name `pack`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .places import ROOT


def check_arrows(root: Path = ROOT) -> int:
    """0 if every contract of `root` is kept; prints what is broken."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pack").symlink_to(root, target_is_directory=True)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((folder, str(root)))}
        command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"]
        return subprocess.run([*command, ".importlinter"], cwd=root, env=environment).returncode


if __name__ == "__main__":
    sys.exit(check_arrows())
