"""Every bundled workflow beside the quickstart runs on a real server and leaves the videos it promises."""

from __future__ import annotations

import json
from typing import Any

import pytest

from demo.host import ROOT
from demo.video_files import read_facts
from demo.workflow_api import to_api

# Fewer steps and frames than the artist gets; the graph stays what it is.
SHORTER: dict[str, dict[str, Any]] = {
    "BasicScheduler": {"steps": 4},
    "SplitSigmas": {"step": 2},
    "S2FlowNoiseReshift": {"k": 2},
    "S2FlowUpsample": {"t_i": 1},
    "S2FlowRefinerSampler": {"steps": 2},
    "EmptyHunyuanLatentVideo": {"length": 5, "batch_size": 2},
    "S2FlowPreviewGate": {"go": True},
}
PROMISED = {
    "s2flow_bowtie_high_res": {"s2flow_bowtie_preview": 96, "s2flow_bowtie": 256},
    "s2flow_bowtie_refiner": {"s2flow_bowtie_refiner_preview": 96, "s2flow_bowtie_refiner": 256},
    "s2flow_flashvideo": {"s2flow_flashvideo_stage1": 128, "s2flow_flashvideo": 256},
    "s2flow_pick_one_of_four": {"s2flow_picked": 256},
}


def as_prompt(comfyui_server, name: str) -> dict[str, Any]:
    workflow = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    return to_api(workflow, comfyui_server.object_info)


def test_every_workflow_has_a_thumbnail():
    workflows = {path.stem for path in (ROOT / "workflows").glob("*.json")}
    assert workflows == {path.stem for path in (ROOT / "workflows").glob("*.jpg")}
    assert workflows == {*PROMISED, "s2flow_quickstart"}


@pytest.mark.parametrize("name", PROMISED)
def test_workflow_runs_and_leaves_its_videos(comfyui_server, name):
    prompt = as_prompt(comfyui_server, name)
    for node in prompt.values():
        changes = SHORTER.get(node["class_type"], {})
        node["inputs"].update({key: value for key, value in changes.items() if node["inputs"][key] != 1})
    run = comfyui_server.queue(prompt)
    assert run.succeeded, run.error
    sizes = {}
    for output in run.outputs.values():
        for saved in output.get("images", []):
            if saved["filename"].endswith(".mp4"):
                facts = read_facts(comfyui_server.output / saved["subfolder"] / saved["filename"])
                assert facts.width == facts.height
                sizes[saved["filename"].rsplit("_", 2)[0]] = facts.width
    assert sizes == PROMISED[name]


@pytest.mark.parametrize("name", ["s2flow_bowtie_high_res", "s2flow_bowtie_refiner"])
def test_the_bowtie_changes_size_after_the_same_k_everywhere(comfyui_server, name):
    inputs = {node["class_type"]: node["inputs"] for node in as_prompt(comfyui_server, name).values()}
    assert inputs["SplitSigmas"]["step"] == inputs["S2FlowNoiseReshift"]["k"] == 10
    assert inputs["BasicScheduler"]["steps"] == 40


def test_picking_starts_with_the_gate_closed(comfyui_server):
    inputs = {
        node["class_type"]: node["inputs"]
        for node in as_prompt(comfyui_server, "s2flow_pick_one_of_four").values()
    }
    assert inputs["S2FlowPreviewGate"]["go"] is False
    assert inputs["EmptyHunyuanLatentVideo"]["batch_size"] == 4
