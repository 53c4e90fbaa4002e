"""The ComfyUI that COMFYUI_PATH names: which Python runs it, and whether that Python has what we need."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .places import REQUIREMENTS
from .refusal import Refusal

NEEDED_MODULES = ("torch", "aiohttp", "einops", "safetensors", "imageio", "av", "PIL", "numpy", "psutil")
PROBE = """
import importlib, json, sys
missing = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        missing[name] = f"{type(error).__name__}: {error}"
print(json.dumps({"version": sys.version_info[:2], "missing": missing}))
"""


def existing_comfyui_python(environment: Mapping[str, str] = os.environ) -> Path:
    """The Python of the ComfyUI in COMFYUI_PATH, checked; raises Refusal with what to do otherwise."""
    folder = comfyui_folder(environment)
    python = choose_python(folder, environment.get("COMFYUI_PYTHON", ""))
    advice = f"Install what the pack needs: {python} -m pip install -r {REQUIREMENTS}"
    check_python(python, NEEDED_MODULES, advice)
    return python


def comfyui_folder(environment: Mapping[str, str]) -> Path:
    """The folder in COMFYUI_PATH; raises Refusal unless a ComfyUI is there."""
    folder = Path(environment["COMFYUI_PATH"])
    if not (folder / "main.py").is_file() or not (folder / "comfy" / "sd.py").is_file():
        raise Refusal(
            f"COMFYUI_PATH={folder} holds no ComfyUI: main.py and comfy/ are expected there. "
            "Name the folder that you start ComfyUI from."
        )
    return folder


def choose_python(folder: Path, named: str) -> Path:
    """COMFYUI_PYTHON, else the environment in or beside the installation, else python3."""
    if named:
        found = shutil.which(named)
        if found is None:
            raise Refusal(f"COMFYUI_PYTHON={named} is no program that can be run.")
        return Path(found)
    beside = [folder / ".venv", folder / "venv", folder.parent / ".venv", folder.parent / "venv"]
    candidates = [venv / "bin" / "python" for venv in beside]
    candidates.append(folder.parent / "python_embeded" / "python.exe")
    for candidate in candidates:
        if candidate.exists():
            return candidate
    found = shutil.which("python3")
    if found is None:
        raise Refusal(f"No Python was found for the ComfyUI in {folder}: name it with COMFYUI_PYTHON.")
    return Path(found)


def check_python(python: Path, modules: tuple[str, ...], advice: str) -> None:
    """Imports the modules in the Python that will need them; advice: what to do where some are missing."""
    try:
        result = subprocess.run([str(python), "-c", PROBE, *modules], capture_output=True, text=True)
        report = json.loads(result.stdout.splitlines()[-1])
    except (OSError, ValueError, IndexError) as error:
        raise Refusal(f"{python} does not run: {error}. Name another one with COMFYUI_PYTHON.") from error
    if tuple(report["version"]) < (3, 10):
        version = ".".join(map(str, report["version"]))
        raise Refusal(f"{python} is Python {version}; S²Flow needs 3.10 or newer.")
    missing = report["missing"]
    if "torch" in missing:
        raise Refusal(
            f"{python} cannot import torch ({missing['torch']}), so it is not the Python that runs this "
            "ComfyUI. Name the right one with COMFYUI_PYTHON."
        )
    if missing:
        raise Refusal(f"{python} lacks {', '.join(missing)}. {advice}")
