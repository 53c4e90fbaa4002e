"""Brings .venv into the pinned state: makes it, and installs what it lacks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .disk import require_free_space
from .pip_run import run_pip
from .places import PINS, ROOT, VENV, generated_folder, venv_python
from .refusal import Refusal

OLDEST, NEWEST = (3, 10), (3, 12)
# Gigabytes that the installation takes at its peak: unpacked files, wheels before unpacking, pip's cache.
WHOLE_INSTALLATION = 10.0
FEW_PACKAGES = 1.0


def make_environment(venv: Path = VENV) -> Path:
    """A virtual environment with a working pip and without packages, or the one that is there already."""
    if venv.exists():
        keep_or_clear(venv)
    if not venv.exists():
        # Said now, so that nobody frees space twice.
        require_free_space(venv.parent, WHOLE_INSTALLATION, "the set-up")
        print(f"Making {venv.name} with Python {sys.version.split()[0]}.", file=sys.stderr, flush=True)
        run_quietly([sys.executable, "-m", "venv", str(venv)], venv)
    python = venv_python(venv)
    if not has_pip(python):
        remove_broken_pip(venv)
        run_quietly([str(python), "-I", "-m", "ensurepip", "--upgrade", "--default-pip"], venv)
        if not has_pip(python):
            raise Refusal(f"pip does not work in {venv}. Delete that folder and run the command again.")
    return python


def keep_or_clear(venv: Path) -> None:
    """Removes what a killed set-up or an uninstalled Python left; refuses to touch anything else."""
    version = interpreter_version(venv_python(venv))
    if version is None:
        if not is_virtual_environment(venv):
            raise Refusal(f"{venv} is in the way and is no virtual environment. Move it and run again.")
        shutil.rmtree(venv)
    elif not OLDEST <= version <= NEWEST:
        raise Refusal(
            f"{venv} holds Python {version[0]}.{version[1]}, and the pinned packages need "
            f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}. Delete that folder and run again."
        )


def is_virtual_environment(folder: Path) -> bool:
    """True also for the bare folders that a set-up leaves when it is killed in its first moments."""
    return (folder / "pyvenv.cfg").exists() or not any(path.is_file() for path in folder.rglob("*"))


def interpreter_version(python: Path) -> tuple[int, int] | None:
    code = "import sys; print(sys.version_info[0], sys.version_info[1])"
    try:
        result = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True)
        major, minor = map(int, result.stdout.split())
    except (OSError, ValueError):
        return None
    return major, minor


def has_pip(python: Path) -> bool:
    return subprocess.run([str(python), "-I", "-m", "pip", "--version"], capture_output=True).returncode == 0


def remove_broken_pip(venv: Path) -> None:
    """ensurepip believes in pip's metadata, so a half-installed copy has to go before it."""
    for site_packages in venv.glob("lib/python*/site-packages"):
        for folder in (*site_packages.glob("pip"), *site_packages.glob("pip-*.dist-info")):
            shutil.rmtree(folder)


def run_quietly(command: list[str], venv: Path) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        reason = (result.stderr or result.stdout).strip().splitlines()[-1:] or ["no reason given"]
        raise Refusal(f"Python could not make the virtual environment {venv}: {reason[0]}.")


def install_pins(python: Path, lock: int) -> None:
    """Installs every pin that is missing, of another version, or damaged; nothing when all is well."""
    missing, broken = inspect(python)
    if not missing:
        return
    everything = "torch" in {line.split("==")[0] for line in missing}
    require_free_space(ROOT, WHOLE_INSTALLATION if everything else FEW_PACKAGES, "installing Python packages")
    for folder in broken:
        shutil.rmtree(folder, ignore_errors=True)
    size = "about 2 GB to download, 6 GB on disk" if everything else ", ".join(missing[:6])
    noun = "package" if len(missing) == 1 else "packages"
    print(f"Installing {len(missing)} {noun} ({size}).", file=sys.stderr, flush=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", dir=generated_folder()) as wanted:
        wanted.write("\n".join(missing) + "\n")
        wanted.flush()
        run_pip(
            python,
            # The pins are complete, so pip has nothing to resolve.
            ["install", "--no-deps", "--only-binary", ":all:", "--timeout", "60", "-r", wanted.name],
            "Installing the Python packages",
            lock,
        )
    missing, _ = inspect(python)
    if missing:
        raise Refusal(
            f"These packages are still not right in {VENV} after installing them: {', '.join(missing)}. "
            "Delete that folder and run the command again."
        )


def inspect(python: Path) -> tuple[list[str], list[Path]]:
    """What installed.py finds: the pins to install, and metadata folders of broken copies."""
    script = Path(__file__).with_name("installed.py")
    result = subprocess.run([str(python), "-I", str(script), str(PINS)], capture_output=True, text=True)
    if result.returncode != 0:
        raise Refusal(f"{VENV} cannot be examined: {result.stderr.strip().splitlines()[-1:]}.")
    report = json.loads(result.stdout)
    return report["missing"], [Path(folder) for folder in report["broken"]]
