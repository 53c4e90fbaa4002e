"""Starts a ComfyUI on loopback, waits until it answers, and stops it."""

from __future__ import annotations

import ctypes
import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from . import ports
from .pack_link import PackLink, link_pack

LOG_NAME = "comfyui.log"
SECONDS_TO_START = 300
SECONDS_TO_STOP = 15
PACK_FAILURE = r"(?:Cannot import|Error while calling comfy_entrypoint in) \S*{name}\b[^:\n]*: (.*)"
PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl


class ServerFailed(Exception):
    """ComfyUI did not start or went away; the text says why, with the last lines of its log."""


class ComfyServer:
    """A running ComfyUI with this pack loaded; use it as a context manager.

    comfyui, python: the installation and what runs it. work: an empty folder that takes everything the
    server writes, so that the installation stays as it is. pack: the copy of the pack to load instead of this
    repository. arguments: more of ComfyUI's options.
    """

    def __init__(
        self,
        comfyui: Path,
        python: Path,
        port: int,
        work: Path,
        cpu: bool,
        pack: PackLink | None = None,
        arguments: Sequence[str] = (),
    ):
        self.comfyui = comfyui
        self.python = python
        self.port = port
        self.work = work
        self.cpu = cpu
        self.pack = pack or link_pack(comfyui)
        self.arguments = arguments
        self.log_file = work / LOG_NAME
        self.process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"http://{ports.LOOPBACK}:{self.port}"

    @property
    def output(self) -> Path:
        return self.work / "output"

    def command(self) -> list[str]:
        folders = {name: self.work / name for name in ("output", "temp", "input", "user")}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        command = [str(self.python), "-u", "main.py", "--listen", ports.LOOPBACK, "--port", str(self.port)]
        command += ["--disable-auto-launch", "--disable-api-nodes"]
        for name, folder in folders.items():
            command += [f"--{name}-directory", str(folder)]
        command += ["--database-url", f"sqlite:///{self.work / 'comfyui.db'}"]
        command += [*self.pack.arguments(), *self.arguments]
        return [*command, "--cpu"] if self.cpu else command

    def start(self) -> None:
        """Returns when the server answers; raises ServerFailed when the port is taken or it ends before."""
        if ports.is_taken(self.port):
            raise ServerFailed(ports.refusal(self.port))
        self.work.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.comfyui,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C on the terminal is ours to pass on, after the outputs are safe.
                start_new_session=True,
                preexec_fn=die_with_parent if sys.platform == "linux" else None,
            )
        deadline = time.monotonic() + SECONDS_TO_START
        while not self.answers():
            self.require_alive()
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"ComfyUI did not answer within {SECONDS_TO_START} s.\n{self.last_lines()}"
                )
            time.sleep(0.3)
        self.require_pack()

    def require_pack(self) -> None:
        """Raises ServerFailed with the reason when ComfyUI runs but could not load this pack."""
        failure = re.search(PACK_FAILURE.format(name=re.escape(self.pack.name)), self.log())
        if failure:
            raise ServerFailed(
                f"ComfyUI could not load the S²Flow pack: {failure[1].strip()}.\n{self.last_lines(30)}"
            )

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/system_stats", timeout=5) as response:
                return "system" in json.load(response)
        except (OSError, ValueError, urllib.error.URLError):
            return False

    def require_alive(self) -> None:
        """Raises ServerFailed with the reason when the process has ended."""
        if self.process is None:
            raise ServerFailed("ComfyUI was not started.")
        status = self.process.poll()
        if status is not None:
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            hint = " This is what happens when memory runs out." if status == -signal.SIGKILL else ""
            raise ServerFailed(f"ComfyUI {how}.{hint} Its last words:\n{self.last_lines()}")

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""

    def last_lines(self, count: int = 15) -> str:
        lines = self.log().splitlines()[-count:]
        return "\n".join(f"  | {line}" for line in lines)

    def stop(self) -> None:
        """Ends the server, politely first."""
        if self.process is None:
            return
        for send in (self.process.terminate, self.process.kill):
            if self.process.poll() is not None:
                break
            send()
            try:
                self.process.wait(SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                continue
        self.process = None

    def __enter__(self) -> ComfyServer:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def die_with_parent() -> None:
    """Runs in the new process: the kernel ends it when we are killed and cannot stop it any more."""
    ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGTERM)
