"""The pack as the registry installs it: .comfyignore applied, in a folder of another name."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfyui_runner.client import ComfyClient
from comfyui_runner.installation import ROOT, comfyui_path
from comfyui_runner.pack_link import PackLink
from comfyui_runner.ports import free_port
from comfyui_runner.server import ComfyServer
from comfyui_runner.workflow_api import to_api

NAME = "video-nodes"
COMMAND = re.compile(r"python -m ((?:demo|training|comfyui_runner)[\w.]*)")


def files_of(*options: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", "-z", *options], cwd=ROOT, capture_output=True, check=True)
    return {name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack's folder in a custom_nodes of its own."""
    folder = tmp_path_factory.mktemp("installed") / "custom_nodes" / NAME
    for name in files_of() - files_of("--cached", "--ignored", "--exclude-from=.comfyignore"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def server(installed: Path) -> Iterator[ComfyServer]:
    config = installed.parent.parent / "paths.yaml"
    config.write_text(f"installed:\n  custom_nodes: {installed.parent}\n", encoding="utf-8")
    python = Path(shutil.which(os.environ.get("COMFYUI_PYTHON") or sys.executable) or sys.executable)
    work = installed.parent.parent / "work"
    with ComfyServer(
        comfyui_path(), python, free_port(), work, cpu=True, pack=PackLink(NAME, config)
    ) as started:
        yield started


def test_what_only_developers_need_is_left_out(installed: Path):
    names = {path.name for path in installed.iterdir()}
    assert not names & {"benchmarks", "setup", "tests", "demo.sh", "test.sh", ".ci"}
    assert {"nodes", "s2flow_core", "workflows", "web", "docs", "README.md", "requirements.txt"} <= names


def test_the_quickstart_runs(server: ComfyServer, installed: Path):
    client = ComfyClient(server.url, server.require_alive)
    workflow = json.loads(
        (installed / "workflows" / "01 Quickstart, no download.json").read_text(encoding="utf-8")
    )
    prompt = to_api(workflow, client.object_info())
    for node in prompt.values():
        node["inputs"] |= {"BasicScheduler": {"steps": 3}, "S2FlowUpsample": {"t_i": 1}}.get(
            node["class_type"], {}
        )
    run = client.run(prompt)
    assert run.succeeded, run.error
    assert len(list(server.output.rglob("s2flow_quickstart*.mp4"))) == 2


def test_every_command_that_an_artist_is_told_starts(installed: Path):
    pages = [installed / "README.md", *installed.glob("docs/*.md"), *installed.glob("web/docs/*.md")]
    told = {name.rstrip(".") for page in pages for name in COMMAND.findall(page.read_text(encoding="utf-8"))}
    shipped = {name for name in told if name != "demo.picture"}
    assert "training.refiner" in shipped
    for name in sorted(shipped):
        run = subprocess.run(
            [sys.executable, "-m", name, "--help"],
            cwd=installed,
            env={**os.environ, "COMFYUI_PATH": str(comfyui_path())},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert run.returncode == 0, run.stderr
        assert "usage" in run.stdout
