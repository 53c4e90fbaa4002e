"""What a worker does around its ComfyUI: prompts, events, files, GPUs, and what it is made of."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from comfyui_runner.client import Event
from farm import local_workers, worker
from farm.jobs import PREVIEW, Job
from farm.local_workers import devices_for
from farm.model_files import (
    MISSING,
    Equipment,
    digest_of,
    equipment_of,
    model_names,
    require_same,
    versions_of,
)
from farm.pool import Lost, NodeFailed, Progress, Stopped
from farm.refusal import Refusal
from farm.store import told
from farm.worker import ComfyWorker, WorkerSettings, failure_of, progress_of

PROMPT: dict[str, Any] = {
    "6": {"class_type": "S2FlowLowResSampler", "inputs": {}, "_meta": {"title": "Small run"}},
    "7": {"class_type": "VAEDecode", "inputs": {"samples": ["6", 0]}},
    "8": {"class_type": "SaveVideo", "inputs": {"filename_prefix": "/video/beach", "video": ["7", 0]}},
}
SAME = Equipment("one", "0.33.0", "pack", {"a.safetensors": "digest"}, {"ComfyUI-GGUF": "code"})


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Event("progress", {"node": "6", "value": 3, "max": 4}, 0.0), Progress(0.75, "Small run")),
        (Event("progress", {"node": "7", "value": 3, "max": 4}, 0.0), None),
        (Event("executing", {"node": None}, 0.0), None),
        (Event("progress", {"node": "99", "value": 1, "max": 0}, 0.0), None),
    ],
)
def test_steps_of_the_samplers_are_the_share_that_is_done(event: Event, expected: Progress | None):
    assert progress_of(event, PROMPT) == expected


@pytest.mark.parametrize(
    ("kind", "message", "memory"),
    [
        ("RuntimeError", "No such file", False),
        ("torch.OutOfMemoryError", "", True),
        ("RuntimeError", "CUDA out of memory. Tried to allocate 2 GiB", True),
        ("ValueError", "Allocation on device 0 failed", True),
    ],
)
def test_errors_of_nodes_are_told_with_the_node(kind: str, message: str, memory: bool):
    data = {"node_id": "6", "node_type": "KSampler", "exception_type": kind, "exception_message": message}
    failure = failure_of(Event("execution_error", data, 0.0))
    assert isinstance(failure, NodeFailed) and failure.memory is memory
    assert failure.why.startswith("Node #6 (KSampler) failed")
    assert isinstance(failure_of(Event("execution_interrupted", data, 0.0)), Lost)


def test_a_worker_that_sees_another_store_says_so(tmp_path):
    hand = ComfyWorker(WorkerSettings(tmp_path, tmp_path, tmp_path, tmp_path), "w")
    assert not hand.sees_store("t")
    (tmp_path / "token").write_text("other")
    assert not hand.sees_store("t")
    (tmp_path / "token").write_text("t")
    assert hand.sees_store("t")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (Equipment("two", "0.34.0", "pack", SAME.models), "two has another ComfyUI than one"),
        (Equipment("two", "0.33.0", "older", SAME.models), "two has another S²Flow pack than one"),
        (
            Equipment("two", "0.33.0", "pack", SAME.models, {"ComfyUI-GGUF": MISSING}),
            "another ComfyUI-GGUF in custom_nodes",
        ),
        (Equipment("two", "0.33.0", "pack", {"a.safetensors": "x"}), "another model a.safetensors"),
        (Equipment("two", "0.33.0", "pack", {"a.safetensors": MISSING}), r"missing, not digest"),
    ],
)
def test_a_worker_with_other_things_is_refused(other: Equipment, said: str):
    require_same(SAME, SAME)
    with pytest.raises(Refusal, match=said):
        require_same(SAME, other)


def test_model_files_are_found_by_name_in_every_folder(tmp_path):
    prompt = {
        "1": {"class_type": "A", "inputs": {"x": "sub/a.safetensors", "y": "a cat", "z": 3, "w": "b.gguf"}}
    }
    assert model_names([prompt, prompt]) == ["b.gguf", "sub/a.safetensors"]
    (tmp_path / "models" / "vae" / "sub").mkdir(parents=True)
    (tmp_path / "models" / "vae" / "sub" / "a.safetensors").write_bytes(b"weights")
    folders = [tmp_path / "none", tmp_path / "models"]
    assert len(digest_of("sub/a.safetensors", folders)) == 64
    assert digest_of("b.gguf", folders) == MISSING


@pytest.mark.parametrize(
    ("found", "workers", "per_clip", "expected"),
    [
        ("0,1,2,3", None, 1, ["0", "1", "2", "3"]),
        ("0,1,2,3", 2, 1, ["0", "1"]),
        ("4,5,6", None, 2, ["4,5"]),
        ("0,1", None, 0.5, ["0", "0", "1", "1"]),
        ("", 3, 0, ["", "", ""]),
        ("0", None, 0, [""]),
    ],
)
def test_gpus_are_dealt_to_workers(monkeypatch, found, workers, per_clip, expected):
    monkeypatch.setenv(local_workers.VISIBLE, found)
    assert devices_for(workers, per_clip, cpu=False) == expected
    assert devices_for(2, per_clip, cpu=True) == ["", ""]


@pytest.mark.parametrize(
    ("found", "workers", "per_clip", "said"),
    [
        ("", None, 1, "No NVIDIA GPU was found here. Add --cpu"),
        ("-1", None, 1, "No NVIDIA GPU"),
        ("0", None, 2, "gpus_per_clip is 2, and there are 1 GPUs here"),
        ("0,1", 3, 1, "There are GPUs for 2 workers here, not for 3"),
    ],
)
def test_too_few_gpus_are_told(monkeypatch, found, workers, per_clip, said):
    monkeypatch.setenv(local_workers.VISIBLE, found)
    with pytest.raises(Refusal, match=said):
        devices_for(workers, per_clip, cpu=False)


@pytest.mark.parametrize(("has_run", "expected"), [(False, Stopped), (True, Lost)])
def test_a_comfyui_that_cannot_start_stops_the_run_unless_it_has_run_before(tmp_path, has_run, expected):
    (tmp_path / "main.py").write_text("raise SystemExit('no such option')")
    settings = WorkerSettings(tmp_path, Path(sys.executable), tmp_path, tmp_path / "scratch")
    hand = ComfyWorker(settings, "worker-1")
    hand._has_run = has_run
    *_, last = hand.run(Job(PREVIEW, "k", prompt=PROMPT), tmp_path / "k-1")
    assert isinstance(last, Stopped | Lost) and type(last) is expected
    assert "ended with status 1" in last.why and "no such option" in last.why


def test_a_run_that_saves_nothing_has_failed(tmp_path, monkeypatch):
    class Client:
        def __init__(self, *given: Any):
            pass

        def follow(self, prompt: dict[str, Any]) -> Iterator[Event]:
            yield Event("execution_success", {}, 0.0)

    monkeypatch.setattr(worker, "ComfyClient", Client)
    hand = ComfyWorker(WorkerSettings(tmp_path, tmp_path, tmp_path, tmp_path), "w")
    monkeypatch.setattr(hand, "ensure", lambda: SimpleNamespace(url="", output=tmp_path / "output"))
    *_, last = hand.run(Job(PREVIEW, "k", prompt=PROMPT), tmp_path / "k-1")
    assert isinstance(last, NodeFailed) and "saved nothing to look at: add Save Video" in last.why
    assert not (tmp_path / "k-1").exists()


@pytest.mark.parametrize("others", [(), ("ComfyUI-GGUF", "other pack")])
def test_a_worker_loads_this_pack_and_those_that_are_named(tmp_path, others: tuple[str, ...]):
    given = WorkerSettings(tmp_path, tmp_path, tmp_path, tmp_path, custom_nodes=others)
    command = ComfyWorker(given, "w")._server(tmp_path / "work").command()
    at = command.index("--whitelist-custom-nodes")
    assert command[at - 1] == "--disable-all-custom-nodes"
    assert tuple(command[at + 2 : at + 2 + len(others)]) == others
    rest = command[at + 2 + len(others) :]
    assert not rest or rest[0].startswith("--")


def test_code_of_other_packs_is_told_apart(tmp_path):
    pack = tmp_path / "custom_nodes" / "pack"
    pack.mkdir(parents=True)
    (tmp_path / "custom_nodes" / "one.py").write_text("a = 1")
    seen = set()
    for text in ("a = 1", "a = 2", "a = 1"):
        (pack / "nodes.py").write_text(text)
        found = equipment_of(tmp_path, None, [], ["pack", "one.py", "gone"]).custom_nodes
        assert found["gone"] == MISSING and len(found["one.py"]) == 64
        seen.add((found["pack"], versions_of(tmp_path, ["pack"])))
    assert len(seen) == 2


def test_a_full_drive_is_told_by_the_worker():
    with pytest.raises(Refusal, match=r"The disk of .* is full"), told(Path("/store")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
