"""A real ComfyUI that runs as a server, for the tests that talk to it and those that look at it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from comfyui_runner.client import ComfyClient, Run
    from comfyui_runner.server import ComfyServer


@dataclass(frozen=True)
class RunningComfy:
    """A ComfyUI on loopback and on the CPU, with the pack loaded. It keeps its cache between runs."""

    server: ComfyServer
    client: ComfyClient
    object_info: dict[str, Any]

    def queue(self, prompt: dict[str, Any]) -> Run:
        """Runs a prompt in API form to its end: events, cached and executed nodes, outputs, error."""
        return self.client.run(prompt)

    def log(self) -> str:
        return self.server.log()

    @property
    def output(self) -> Path:
        return self.server.output


@pytest.fixture(scope="session")
def comfyui_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningComfy]:
    """Started once for all tests; COMFYUI_PATH and COMFYUI_PYTHON name another one than .comfyui.

    Imported here, because tests of kernels alone run where what the client needs is missing.
    """
    from comfyui_runner.client import ComfyClient
    from comfyui_runner.installation import comfyui_path
    from comfyui_runner.ports import free_port
    from comfyui_runner.server import ComfyServer

    python = Path(shutil.which(os.environ.get("COMFYUI_PYTHON") or sys.executable) or sys.executable)
    work = tmp_path_factory.mktemp("comfyui")
    with ComfyServer(comfyui_path(), python, free_port(), work, cpu=True) as server:
        client = ComfyClient(server.url, server.require_alive)
        yield RunningComfy(server, client, client.object_info())
