"""Runs of the farm on the small model, as processes that can be looked at and killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import yaml

from comfyui_runner.installation import ROOT, comfyui_path
from demo.run_demo.video_files import read_frames

SMALL = {"BasicScheduler.steps": 3, "S2FlowUpsample.t_i": 2, "#4.width": 64, "#4.height": 64, "#4.length": 5}
PATIENCE = 400.0  # seconds; a busy machine needs most of them to start two ComfyUIs


def manifest_in(folder: Path, seeds: int) -> Path:
    """A manifest for so many tiny clips of the quickstart."""
    python = shutil.which(os.environ.get("COMFYUI_PYTHON") or sys.executable) or sys.executable
    content = {
        "workflow": str(ROOT / "workflows" / "01 Quickstart, no download.json"),
        "store": "store",
        "comfyui": str(comfyui_path()),
        "python": python,
        "table": {"RandomNoise.noise_seed": f"1..{seeds}", **SMALL},
    }
    folder.mkdir(exist_ok=True)
    file = folder / "jobs.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


class FarmRun:
    """`python -m farm` as a process of its own. alone: where no network but 127.0.0.1 can be reached."""

    def __init__(self, manifest: Path, *options: str, alone: bool = False):
        self.log = manifest.parent / f"run-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "farm", str(manifest), "--cpu", *options]
        if alone:
            command = ["unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "farm", *command]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        self.store = manifest.parent / "store"

    def family(self) -> list[psutil.Process]:
        """The processes of workers and of their ComfyUIs."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def comfyuis(self) -> list[psutil.Process]:
        return [one for one in self.family() if "main.py" in command_of(one)]

    def actors(self) -> list[psutil.Process]:
        return [one for one in self.family() if " ".join(command_of(one)).startswith("ray::Hand")]

    def workers(self) -> list[psutil.Process]:
        return [one for one in self.family() if "spawn_main" in " ".join(command_of(one))]

    def listening(self) -> set[str]:
        """The addresses on which the driver, its workers and their ComfyUIs listen."""
        found = set()
        for one in [psutil.Process(self.process.pid), *self.family()]:
            with suppress(psutil.Error):
                listed = one.net_connections("inet")
                found |= {each.laddr[0] for each in listed if each.status == psutil.CONN_LISTEN}
        return found

    def until(self, met: Callable[[], object]) -> None:
        """Waits; fails with the log where the run ends or takes too long before."""
        deadline = time.monotonic() + PATIENCE
        while not met():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def end(self) -> str:
        """Waits for a good end and returns what it said."""
        status = self.process.wait(PATIENCE)
        assert status == 0, self.log.read_text()
        return self.log.read_text()

    def stop(self) -> None:
        with suppress(psutil.NoSuchProcess):
            self.process.terminate()
        self.process.wait(60)


def command_of(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def results(store: Path, stage: str) -> dict[str, Path]:
    """Key -> video of the committed results."""
    found = {}
    for folder in (store / "results" / stage).glob("*"):
        (found[folder.name],) = folder.rglob("*.mp4")
    return found


def frames(video: Path) -> list[bytes]:
    return [frame.tobytes() for frame in read_frames(video)]


def require_gone(processes: list[psutil.Process], seconds: float = 20.0) -> None:
    _, alive = psutil.wait_procs(processes, seconds)
    assert alive == []
