"""An existing ComfyUI and its Python are found, or refused with what they lack."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from setup import existing_comfyui
from setup.refusal import Refusal


def make_comfyui(folder: Path) -> Path:
    (folder / "comfy").mkdir(parents=True)
    (folder / "main.py").touch()
    (folder / "comfy" / "sd.py").touch()
    return folder


def fake_python(path: Path, missing: dict[str, str], version: tuple[int, int] = (3, 11)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{json.dumps({'version': version, 'missing': missing})}'\n")
    path.chmod(0o755)
    return path


def test_the_environment_of_an_existing_comfyui_is_found(tmp_path):
    folder = make_comfyui(tmp_path / "ComfyUI")
    python = fake_python(folder / "venv" / "bin" / "python", {})
    assert existing_comfyui.existing_comfyui_python({"COMFYUI_PATH": str(folder)}) == python


@pytest.mark.parametrize(
    ("missing", "version", "words"),
    [
        ({"torch": "ModuleNotFoundError: x"}, (3, 11), "cannot import torch"),
        ({"av": "x", "imageio": "y"}, (3, 11), r"lacks av, imageio.*-m pip install -r .*requirements\.txt"),
        ({}, (3, 9), r"is Python 3\.9"),
    ],
)
def test_an_existing_python_that_lacks_something_is_refused(tmp_path, missing, version, words):
    folder = make_comfyui(tmp_path / "ComfyUI")
    python = fake_python(tmp_path / "python", missing, version)
    with pytest.raises(Refusal, match=words):
        existing_comfyui.existing_comfyui_python({"COMFYUI_PATH": str(folder), "COMFYUI_PYTHON": str(python)})


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"COMFYUI_PATH": "/nonexistent"}, "holds no ComfyUI"),
        ({"COMFYUI_PATH": "{comfyui}", "COMFYUI_PYTHON": "no-such-python"}, "no program that can be run"),
    ],
)
def test_wrong_paths_are_refused(tmp_path, variables, words):
    folder = make_comfyui(tmp_path / "ComfyUI")
    given = {name: value.format(comfyui=folder) for name, value in variables.items()}
    with pytest.raises(Refusal, match=words):
        existing_comfyui.existing_comfyui_python(given)
