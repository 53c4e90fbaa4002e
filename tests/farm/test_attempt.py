"""What one attempt is given and what is kept of it: prompts with folders of their own, and saved files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from farm.attempt import TRAJECTORY, keep, prepared
from farm.jobs import LARGE, PREVIEW, Job

PROMPT: dict[str, Any] = {
    "6": {"class_type": "S2FlowLowResSampler", "inputs": {}, "_meta": {"title": "Small run"}},
    "7": {"class_type": "VAEDecode", "inputs": {"samples": ["6", 0]}},
    "8": {"class_type": "SaveVideo", "inputs": {"filename_prefix": "/video/beach", "video": ["7", 0]}},
}


def test_every_attempt_saves_into_a_folder_of_its_own(tmp_path):
    job = Job(PREVIEW, "k", prompt=PROMPT)
    made = prepared(job, "k-1-ab", tmp_path, tmp_path)
    assert made["8"]["inputs"]["filename_prefix"] == "k-1-ab/video/beach"
    assert PROMPT["8"]["inputs"]["filename_prefix"] == "/video/beach", "the job stays as it is"


def test_a_large_video_loads_its_preview_from_the_store(tmp_path):
    store, output = tmp_path / "store", tmp_path / "output"
    kept = store / "results" / "preview" / "p1" / "trajectory.s2flow.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"trajectory")
    prompt = PROMPT | {"6": {"class_type": "S2FlowLoadTrajectory", "inputs": {"file": ""}}}
    for _ in range(2):
        made = prepared(Job(LARGE, "l1", prompt=prompt, needs="p1", low="6"), "l1-1-ab", output, store)
        assert made["6"]["inputs"]["file"] == "output/farm/p1.s2flow.safetensors"
        assert (output / "farm" / "p1.s2flow.safetensors").read_bytes() == b"trajectory"


def saved(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize(
    ("stage", "kept"),
    [
        (PREVIEW, {"a.mp4", TRAJECTORY, "mine/first_1_.s2flow.safetensors"}),
        (LARGE, {"a.mp4", "farm_trajectory_1_.s2flow.safetensors", "mine/first_1_.s2flow.safetensors"}),
    ],
)
def test_only_the_farms_own_trajectory_of_a_preview_gets_its_name(tmp_path, stage: str, kept: set[str]):
    names = ("a.mp4", "farm_trajectory_1_.s2flow.safetensors", "mine/first_1_.s2flow.safetensors")
    made, folder = saved(tmp_path / "made", *names), tmp_path / "work"
    assert keep(Job(stage, "k", "seed=1"), made, folder, {"seconds": 2.0})
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == kept | {"result.json"}
    facts = json.loads((folder / "result.json").read_text())
    assert set(facts["files"]) == kept and len(facts["files"]) == 3
    assert (facts["name"], facts["seconds"]) == ("seed=1", 2.0)
    assert {(folder / name).read_text() for name in kept} == set(names), "none overwrites another"
    assert not made.exists()


@pytest.mark.parametrize("stage", [PREVIEW, LARGE])
@pytest.mark.parametrize("names", [(), ("farm_trajectory_1_.s2flow.safetensors",)])
def test_an_attempt_with_nothing_to_look_at_keeps_nothing(tmp_path, stage: str, names: tuple[str, ...]):
    made, folder = saved(tmp_path / "made", *names), tmp_path / "work"
    assert not keep(Job(stage, "k"), made, folder, {})
    assert not folder.exists() and not made.exists()
