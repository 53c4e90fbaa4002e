"""One ComfyUI that makes one job after another, and starts again after it died."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from comfyui_runner import client as comfy
from comfyui_runner.client import ComfyClient
from comfyui_runner.pack_link import link_pack
from comfyui_runner.ports import free_port
from comfyui_runner.server import ComfyServer, ServerFailed

from .addresses import Json, titles
from .attempt import keep, prepared
from .jobs import Job
from .model_files import Equipment, equipment_of
from .pool import Event, Lost, Made, NodeFailed, Progress, Stopped
from .refusal import Refusal
from .stages import LOW
from .store import told
from .workflow import unknown_nodes

SAMPLERS = (LOW, "S2FlowHighResSampler", "S2FlowRefinerSampler", "SamplerCustomAdvanced")
NO_MEMORY = ("out of memory", "outofmemory", "allocation on device")
SAVED_NOTHING = (
    "It ran to its end and saved nothing to look at: add Save Video, or let it save to the output folder."
)
STARTS = 3  # another program may take the free port first


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker starts its ComfyUI. scratch: a folder on the worker's own disk; store: of results.

    custom_nodes: folders of other packs to load.
    """

    comfyui: Path
    python: Path
    store: Path
    scratch: Path
    arguments: tuple[str, ...] = ()
    models: Path | None = None
    inputs: Path | None = None
    cpu: bool = False
    custom_nodes: tuple[str, ...] = ()


class ComfyWorker:
    """Makes jobs on a ComfyUI of its own. check: called while it waits; raises to end the wait."""

    def __init__(self, settings: WorkerSettings, name: str, check: Callable[[], None] = lambda: None):
        self.settings = settings
        self.name = name
        self.check = check
        self.server: ComfyServer | None = None
        self.equipment: Equipment | None = None
        self._has_run = False

    def sees_store(self, token: str) -> bool:
        """Whether the store's path leads this machine to the same store."""
        try:
            return (self.settings.store / "token").read_text(encoding="utf-8") == token
        except OSError:
            return False

    def look(self, names: list[str]) -> Equipment:
        """What this worker makes clips with; kept for result.json."""
        given = self.settings
        self.equipment = equipment_of(given.comfyui, given.models, names, given.custom_nodes)
        return self.equipment

    def ensure(self) -> ComfyServer:
        """The running ComfyUI; started where it is not. Raises ServerFailed."""
        if self.server is not None:
            return self.server
        work = self.settings.scratch / self.name
        shutil.rmtree(work, ignore_errors=True)
        for attempt in range(STARTS):
            server = self._server(work)
            try:
                server.start()
            except ServerFailed:
                server.stop()
                if attempt == STARTS - 1:
                    raise
            except BaseException:
                server.stop()
                raise
            else:
                self.server, self._has_run = server, True
                return server
        raise AssertionError("the last attempt returns or raises")

    def _server(self, work: Path) -> ComfyServer:
        given = self.settings
        work.mkdir(parents=True, exist_ok=True)
        inputs = given.inputs or given.comfyui / "input"
        if inputs.is_dir() and not (work / "input").exists():
            (work / "input").symlink_to(inputs, target_is_directory=True)
        arguments = list(given.arguments)
        if given.models is not None:
            kinds = sorted(entry.name for entry in given.models.iterdir() if entry.is_dir())
            lines = ["farm:", f"  base_path: {json.dumps(str(given.models))}"]
            paths = work / "farm_models.yaml"
            paths.write_text("\n".join([*lines, *(f"  {kind}: {kind}" for kind in kinds)]), encoding="utf-8")
            arguments += ["--extra-model-paths-config", str(paths)]
        pack = replace(link_pack(given.comfyui), others=given.custom_nodes)
        return ComfyServer(given.comfyui, given.python, free_port(), work, given.cpu, pack, tuple(arguments))

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            self.server = None

    def run(self, job: Job, folder: Path) -> Iterator[Event]:
        """Makes a job and leaves its result in `folder`. The last event says how it ended."""
        began = time.monotonic()
        yield Progress(0.0, "starting")
        try:
            server = self.ensure()
        except (ServerFailed, OSError) as problem:
            # One that never ran will not run for the next job either.
            cannot = Stopped(f"{self.name} cannot start its ComfyUI.\n{problem}")
            yield Lost(str(problem)) if self._has_run else cannot
            return
        try:
            prompt = prepared(job, folder.name, server.output, self.settings.store)
            client = ComfyClient(server.url, self._check)
            last = None
            for last in client.follow(prompt):
                progress = progress_of(last, prompt)
                if progress is not None:
                    yield progress
        except comfy.PromptRefused as problem:
            yield Stopped(f"ComfyUI did not take the workflow.\n{reason_of(problem, job, server)}")
            return
        except (ServerFailed, ConnectionError, OSError) as problem:
            self.stop()
            yield Lost(str(problem))
            return
        assert last is not None, "a prompt that was taken ends with an event"
        if last.kind != "execution_success":
            yield failure_of(last)
            return
        try:
            with told(self.settings.store):
                made_by = asdict(self.equipment) if self.equipment else {}
                facts = {"seconds": round(time.monotonic() - began, 1), "made_by": made_by}
                saved = keep(job, server.output / folder.name, folder, facts)
        except Refusal as problem:
            yield Stopped(str(problem))
            return
        yield Made() if saved else NodeFailed(SAVED_NOTHING)

    def _check(self) -> None:
        self.check()
        if self.server is not None:
            self.server.require_alive()


def reason_of(refused: comfy.PromptRefused, job: Job, server: ComfyServer) -> str:
    """A node that this ComfyUI lacks, since ComfyUI itself says too little of it; else what it said."""
    with suppress(OSError):
        missing = unknown_nodes(job.prompt, ComfyClient(server.url).object_info())
        if missing:
            return missing
    return str(refused)


def progress_of(event: comfy.Event, prompt: Json) -> Progress | None:
    """Steps of the samplers count as the job's share; the other nodes are named."""
    node = str(event.data.get("node"))
    if node not in prompt:
        return None
    if event.kind == "progress" and prompt[node]["class_type"] in SAMPLERS:
        return Progress(event.data["value"] / max(1, event.data["max"]), titles(prompt)[node])
    return None


def failure_of(event: comfy.Event) -> Event:
    """A node's error; an interrupted run counts as a lost worker, since nobody but us uses this ComfyUI."""
    if event.kind != "execution_error":
        return Lost("The run was interrupted.")
    message = str(event.data.get("exception_message", "")).strip()
    about = f"{event.data.get('exception_type', '')} {message}".lower()
    why = f"Node #{event.data.get('node_id')} ({event.data.get('node_type')}) failed: {message}"
    return NodeFailed(why, memory=any(sign in about for sign in NO_MEMORY))
