"""The Refiner's training says in a sentence what is missing, and helps without it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from comfyui_runner.installation import ROOT
from training.refiner.__main__ import main

MISSING = """
import runpy, sys
sys.modules["torch"] = None
sys.argv = ["training.refiner", *sys.argv[1:]]
runpy.run_module("training.refiner", run_name="__main__")
"""


def without_torch(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", MISSING, *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_a_missing_module_is_named_in_a_sentence():
    run = without_torch("--demo")
    assert run.returncode == 1
    assert "The Python module torch is missing" in run.stderr and "Traceback" not in run.stderr


def test_a_missing_comfyui_is_named_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"no ComfyUI in .*set COMFYUI_PATH to a ComfyUI folder"):
        main(["--demo"])


def test_the_help_needs_nothing_and_says_how_to_call_it_in_an_installed_pack():
    run = without_torch("--help")
    assert run.returncode == 0
    assert "COMFYUI_PATH=../.. python -m training.refiner" in run.stdout
    assert "CFG 1 and a\nzeroed conditioning" in run.stdout
    for option in ("--clip", "--noise-share", "--noise-levels", "--relative", "--window"):
        assert option in run.stdout
