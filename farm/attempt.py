"""What goes into a ComfyUI for one attempt at a job, and the files that are taken out of it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from .addresses import PREFIX, Json
from .jobs import LARGE, PREVIEW, Job
from .stages import TRAJECTORY_PREFIX
from .store import RESULT

TRAJECTORY = "trajectory.s2flow.safetensors"
SUFFIX = ".s2flow.safetensors"
LINKS = "farm"  # folder of trajectories inside ComfyUI's output folder


def prepared(job: Job, attempt: str, output: Path, store: Path) -> Json:
    """The job's prompt: it saves into a folder of its own and loads the preview's trajectory from the store.

    The folder makes the nodes that save run again on a ComfyUI that has made the rest before.
    """
    prompt = {key: node | {"inputs": dict(node["inputs"])} for key, node in job.prompt.items()}
    for node in prompt.values():
        prefix = node["inputs"].get(PREFIX)
        if isinstance(prefix, str):
            node["inputs"][PREFIX] = f"{attempt}/{prefix.lstrip('/')}"
    if job.stage == LARGE:
        trajectory = output / LINKS / f"{job.needs}{SUFFIX}"
        trajectory.parent.mkdir(parents=True, exist_ok=True)
        if not trajectory.exists():
            link_or_copy(store / "results" / "preview" / job.needs / TRAJECTORY, trajectory)
        prompt[job.low]["inputs"]["file"] = f"output/{LINKS}/{trajectory.name}"
    return prompt


def keep(job: Job, made: Path, folder: Path, facts: dict[str, Any]) -> bool:
    """Moves what ComfyUI saved to the store's drive, with a note of how it was made.

    made: where ComfyUI saved. facts: more for the note. False, and nothing is kept, where there is nothing
    to look at.
    """
    files = [path.relative_to(made).as_posix() for path in sorted(made.rglob("*")) if path.is_file()]
    names = {name: TRAJECTORY if is_farms(name, job) else name for name in files}
    shown = any(not name.endswith(SUFFIX) for name in files)
    if shown:
        folder.mkdir()
        for name, kept in names.items():
            copy_to_disk(made / name, folder / kept)
        about: dict[str, Any] = {"stage": job.stage, "key": job.key, "name": job.name, "values": job.values}
        about |= {"needs": job.needs, "files": list(names.values()), "prompt": job.prompt} | facts
        (folder / RESULT).write_text(json.dumps(about, indent=1, default=str), encoding="utf-8")
    shutil.rmtree(made, ignore_errors=True)
    return shown


def is_farms(name: str, job: Job) -> bool:
    """Whether a saved file is the trajectory that the farm itself asked for; the workflow may save others."""
    return job.stage == PREVIEW and name.startswith(TRAJECTORY_PREFIX) and name.endswith(SUFFIX)


def link_or_copy(source: Path, target: Path) -> None:
    """Windows lets few users make links."""
    try:
        target.symlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def copy_to_disk(source: Path, target: Path) -> None:
    """Copies a file and waits until it is on the disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reading, target.open("wb") as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)
        writing.flush()
        os.fsync(writing.fileno())
