"""Where the set-up puts things, all inside the repository."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
COMFYUI_VENVS = ROOT / ".venv-comfyui"
COMFYUI = ROOT / ".comfyui"
PINS = ROOT / "setup" / "pins.txt"
COMFYUI_PIN = ROOT / "setup" / "comfyui_pin.txt"
REQUIREMENTS = ROOT / "requirements.txt"
TEST_REQUIREMENTS = ROOT / "setup" / "test_requirements.txt"
GENERATED = ROOT / ".host"


def generated_folder() -> Path:
    """The folder for locks, links and half-done work; git sees nothing of it."""
    GENERATED.mkdir(exist_ok=True)
    ignore = GENERATED / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    return GENERATED


def venv_python(venv: Path = VENV) -> Path:
    """The interpreter of a virtual environment, whether or not it is there yet."""
    windows = venv / "Scripts" / "python.exe"
    return windows if windows.exists() else venv / "bin" / "python"
