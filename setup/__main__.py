"""`python -m setup demo|test`: prepares everything and prints the path of the Python to go on with.

Progress and refusals go to the standard error, so that a shell can take the path from the output.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from .comfyui import provide_comfyui
from .comfyui_environment import python_for_tests
from .disk import disk_full_refusal, is_disk_full
from .environment import install_pins, make_environment
from .existing_comfyui import existing_comfyui_python
from .lock import exclusive
from .places import ROOT, generated_folder
from .refusal import Refusal


def prepare(purpose: str) -> Path:
    """The Python that runs the demo or the tests, with everything that they need in place.

    The demo runs in an existing ComfyUI's own Python. The tests need pytest and more beside, so against an
    existing ComfyUI they have an environment of their own, apart from the pinned one.
    """
    existing = bool(os.environ.get("COMFYUI_PATH"))
    if existing and purpose == "demo":
        return existing_comfyui_python()
    with exclusive(generated_folder() / "setup.lock") as lock:
        remove_leftovers()
        if existing:
            return python_for_tests(lock)
        python = make_environment()
        # The small download comes first: without network it fails within seconds.
        provide_comfyui(python, lock)
        install_pins(python, lock)
    return python


def remove_leftovers() -> None:
    """Half-done work of a set-up that was killed; nobody else can be using it while we hold the lock."""
    for pattern in ("pip-*", "comfyui-*", "tmp*.txt"):
        for path in generated_folder().glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def main() -> int:
    try:
        print(prepare(sys.argv[1]))
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Run the command again to go on.", file=sys.stderr)
        return 130
    except OSError as error:
        if not is_disk_full(error):
            raise
        print(disk_full_refusal(ROOT), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
