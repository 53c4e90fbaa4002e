"""The environment for tests against another ComfyUI: made once, gone on with, or a Python that is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_existing_comfyui import fake_python, make_comfyui

from setup import comfyui_environment as module
from setup.refusal import Refusal


@pytest.fixture
def comfyui(tmp_path) -> Path:
    folder = make_comfyui(tmp_path / "ComfyUI")
    (folder / "requirements.txt").write_text("torch\naiohttp>=3\n")
    return folder


@pytest.fixture
def installs(monkeypatch, tmp_path) -> list[list[str]]:
    """pip's arguments, with the content of the files that it is given; nothing is installed."""
    seen: list[list[str]] = []

    def make(venv: Path) -> Path:
        venv.mkdir(exist_ok=True)
        return venv / "bin" / "python"

    def pip(python: Path, arguments: list[str], purpose: str, lock: int) -> None:
        seen.append([Path(a).read_text() if a.endswith(".txt") else a for a in arguments])

    monkeypatch.setattr(module, "make_environment", make)
    monkeypatch.setattr(module, "run_pip", pip)
    return seen


def test_each_set_of_requirements_has_a_folder_and_is_installed_once(comfyui, installs, tmp_path):
    venvs = tmp_path / "venvs"
    first = module.environment_of(comfyui, 0, venvs)
    assert first == module.environment_of(comfyui, 0, venvs)
    assert len(installs) == 1
    assert "torch\naiohttp>=3\n" in installs[0] and any("pytest" in text for text in installs[0])
    (comfyui / "requirements.txt").write_text("torch\naiohttp>=4\n")
    second = module.environment_of(comfyui, 0, venvs)
    assert second.parts[-3] != first.parts[-3]
    assert len(installs) == 2


def test_a_failed_installation_is_gone_on_with(comfyui, installs, monkeypatch, tmp_path):
    def fails(*_: object) -> None:
        raise Refusal("no network")

    working = module.run_pip
    monkeypatch.setattr(module, "run_pip", fails)
    with pytest.raises(Refusal, match="no network"):
        module.environment_of(comfyui, 0, tmp_path / "venvs")
    monkeypatch.setattr(module, "run_pip", working)
    module.environment_of(comfyui, 0, tmp_path / "venvs")
    assert len(installs) == 1


@pytest.mark.parametrize(
    ("requirements", "expected"),
    [
        ("torch\ntorchvision\n", ["torch==2.11.0", "torchvision==0.26.0"]),
        ("torch>=2.12\ntorchvision\n", ["torchvision==0.26.0"]),
        ("# torch\n\ntorch==2.10 ; x\ntorchvision==0.25\n", []),
    ],
)
def test_what_a_comfyui_leaves_open_stays_at_the_pinned_version(requirements, expected):
    pins = "# pins\ncomfyui-frontend-package==1.32.9\ntorch==2.11.0\ntorchvision==0.26.0\n"
    assert module.held_versions(requirements, pins) == expected


def test_a_python_that_is_named_is_used(comfyui, installs, tmp_path):
    python = fake_python(tmp_path / "python", {})
    given = {"COMFYUI_PATH": str(comfyui), "COMFYUI_PYTHON": str(python)}
    assert module.python_for_tests(0, given) == python
    assert installs == []


@pytest.mark.parametrize("missing", [["pytest"], ["hypothesis", "playwright"]])
def test_a_named_python_without_the_test_packages_is_refused(comfyui, tmp_path, missing):
    python = fake_python(tmp_path / "python", dict.fromkeys(missing, "x"))
    given = {"COMFYUI_PATH": str(comfyui), "COMFYUI_PYTHON": str(python)}
    words = (
        rf"lacks {', '.join(missing)}\. .*pip install -r .*test_requirements\.txt.*leave COMFYUI_PYTHON out"
    )
    with pytest.raises(Refusal, match=words):
        module.python_for_tests(0, given)


def test_a_comfyui_without_requirements_is_refused(tmp_path):
    with pytest.raises(Refusal, match=r"no requirements\.txt.*COMFYUI_PYTHON"):
        module.environment_of(make_comfyui(tmp_path / "ComfyUI"), 0, tmp_path / "venvs")
