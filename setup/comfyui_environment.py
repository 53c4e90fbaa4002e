"""The environment in which the tests run against the ComfyUI that COMFYUI_PATH names.

Each set of requirements has a folder of its own, so versions of ComfyUI stay apart from one another and from
the pinned one.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from .environment import make_environment
from .existing_comfyui import NEEDED_MODULES, check_python, choose_python, comfyui_folder
from .pip_run import run_pip
from .places import COMFYUI_VENVS, PINS, REQUIREMENTS, TEST_REQUIREMENTS, generated_folder
from .refusal import Refusal

TEST_MODULES = ("pytest", "pytest_timeout", "xdist", "pytest_cov", "hypothesis", "matplotlib", "playwright")
# Written when everything is installed; an environment without it is gone on with.
COMPLETE = "s2flow-complete"
# Packages of which a ComfyUI may name no version, and the pinned environment has one that is known to do.
HELD = ("torch", "torchvision", "torchaudio", "ruff", "pyright")


def python_for_tests(lock: int, environment: Mapping[str, str] = os.environ) -> Path:
    """COMFYUI_PYTHON if it is named and has what tests need, else one with all of it, made where missing."""
    folder = comfyui_folder(environment)
    named = environment.get("COMFYUI_PYTHON", "")
    if not named:
        return environment_of(folder, lock)
    python = choose_python(folder, named)
    advice = (
        f"Install what the tests need: {python} -m pip install -r {TEST_REQUIREMENTS}. Or leave "
        "COMFYUI_PYTHON out, and ./test.sh makes an environment for this ComfyUI."
    )
    check_python(python, (*NEEDED_MODULES, *TEST_MODULES), advice)
    return python


def environment_of(folder: Path, lock: int, venvs: Path = COMFYUI_VENVS) -> Path:
    """The Python of an environment with a ComfyUI's requirements and the test packages."""
    wanted = folder / "requirements.txt"
    if not wanted.is_file():
        raise Refusal(
            f"{folder} has no requirements.txt, so it is not known what this ComfyUI needs. Name a Python "
            "that runs it, and has pytest, with COMFYUI_PYTHON."
        )
    requirements = wanted.read_text(encoding="utf-8")
    venv = venvs / digest_of(requirements)
    venvs.mkdir(exist_ok=True)
    python = make_environment(venv)
    if (venv / COMPLETE).exists():
        return python
    print(f"Installing what the ComfyUI in {folder} needs.", file=sys.stderr, flush=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", dir=generated_folder()) as limits:
        limits.write("\n".join(held_versions(requirements, PINS.read_text(encoding="utf-8"))) + "\n")
        limits.flush()
        install = ["install", "--timeout", "60", "-c", limits.name, "-r", str(wanted)]
        run_pip(python, [*install, "-r", str(TEST_REQUIREMENTS)], "Installing the Python packages", lock)
    (venv / COMPLETE).touch()
    return python


def digest_of(requirements: str) -> str:
    """A short name for everything that decides what is installed."""
    ours = (path.read_text(encoding="utf-8") for path in (TEST_REQUIREMENTS, REQUIREMENTS))
    everything = "\0".join([requirements, *ours, ".".join(map(str, sys.version_info[:2]))])
    return hashlib.sha256(everything.encode()).hexdigest()[:12]


def held_versions(requirements: str, pins: str) -> list[str]:
    """The pins of the packages in HELD for which a ComfyUI names no version itself."""
    names = [re.match(r"[\w.-]+", line) for line in requirements.splitlines()]
    bound = {
        name[0]
        for name, line in zip(names, requirements.splitlines(), strict=True)
        if name and name[0] != line.strip()
    }
    return [
        pin for pin in pins.splitlines() if (name := pin.partition("==")[0]) in HELD and name not in bound
    ]
