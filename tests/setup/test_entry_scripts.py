"""demo.sh and test.sh find a Python that fits, or say in one line why they stop."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from setup.places import ROOT


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
