"""The bundled workflow in a running ComfyUI: the sliders never run the Low-Res Sampler again."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from comfyui_runner.installation import ROOT
from comfyui_runner.workflow_api import to_api
from demo.run_demo.__main__ import large_video, saved_videos
from demo.run_demo.video_files import read_facts
from demo.settings import GUIDANCE, SCALE, SHIFT, STEPS, STEPS_LEFT

FEW_STEPS = 4


@pytest.fixture(scope="module")
def quickstart(comfyui_server) -> dict[str, Any]:
    workflow = json.loads(
        (ROOT / "workflows" / "01 Quickstart, no download.json").read_text(encoding="utf-8")
    )
    return to_api(workflow, comfyui_server.object_info)


def id_of(prompt: dict[str, Any], class_type: str) -> str:
    (found,) = (key for key, node in prompt.items() if node["class_type"] == class_type)
    return found


def inputs_of(prompt: dict[str, Any], class_type: str) -> dict[str, Any]:
    return prompt[id_of(prompt, class_type)]["inputs"]


@pytest.fixture(scope="module")
def short(quickstart) -> dict[str, Any]:
    """The same graph with few steps."""
    prompt = json.loads(json.dumps(quickstart))
    inputs_of(prompt, "BasicScheduler")["steps"] = FEW_STEPS
    inputs_of(prompt, "S2FlowUpsample")["t_i"] = FEW_STEPS // 2
    return prompt


@pytest.fixture(scope="module")
def first_run(comfyui_server, short):
    run = comfyui_server.queue(short)
    assert run.succeeded, run.error
    return run


def changed(prompt: dict[str, Any], class_type: str, **inputs: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(prompt))
    inputs_of(copy, class_type).update(inputs)
    return copy


def test_workflow_uses_the_settings_that_the_measures_use(quickstart):
    assert inputs_of(quickstart, "BasicScheduler")["steps"] == STEPS
    assert inputs_of(quickstart, "S2FlowUpsample")["t_i"] == STEPS_LEFT
    assert inputs_of(quickstart, "S2FlowUpsample")["scale"] == SCALE
    assert inputs_of(quickstart, "CFGGuider")["cfg"] == GUIDANCE
    assert inputs_of(quickstart, "ModelSamplingSD3")["shift"] == SHIFT


def test_full_run_leaves_both_videos(comfyui_server, first_run):
    videos = saved_videos(first_run, comfyui_server.output)
    facts = {name: read_facts(path) for name, path in videos.items()}
    sizes = {name: (fact.width, fact.height, fact.frames) for name, fact in facts.items()}
    assert sizes == {"s2flow_quickstart_preview": (128, 128, 17), "s2flow_quickstart": (256, 256, 17)}
    assert large_video(videos) == "s2flow_quickstart"  # which ./demo.sh shows, whatever the file is called


def test_window_report_says_the_density(first_run, short):
    (text,) = first_run.outputs[id_of(short, "S2FlowWindowMask")]["text"]
    found = re.search(r"Attention looks at ([\d.]+)% of the video; 50.0% was asked for", text)
    assert found is not None, text
    assert 25 < float(found[1]) <= 50


def test_moving_s_keeps_the_low_res_run_and_the_transition(comfyui_server, first_run, short):
    run = comfyui_server.queue(changed(short, "S2FlowWindowMask", s=0.25))
    assert run.succeeded, run.error
    kept = {id_of(short, "S2FlowLowResSampler"), id_of(short, "S2FlowUpsample")}
    assert kept <= run.cached_nodes
    assert not kept & run.executed_nodes
    assert {id_of(short, "S2FlowWindowMask"), id_of(short, "S2FlowHighResSampler")} <= run.executed_nodes


def test_moving_t_i_keeps_the_low_res_run(comfyui_server, first_run, short):
    run = comfyui_server.queue(changed(short, "S2FlowUpsample", t_i=1))
    assert run.succeeded, run.error
    low_res = id_of(short, "S2FlowLowResSampler")
    assert low_res in run.cached_nodes
    assert low_res not in run.executed_nodes
    assert {id_of(short, "S2FlowUpsample"), id_of(short, "S2FlowHighResSampler")} <= run.executed_nodes


def test_previews_and_progress_come_from_both_samplers(first_run, short):
    steps = {}
    for event in first_run.events:
        if event.kind == "progress":
            steps[event.data["node"]] = event.data["max"]
    assert steps[id_of(short, "S2FlowLowResSampler")] == FEW_STEPS
    assert steps[id_of(short, "S2FlowHighResSampler")] == FEW_STEPS // 2


def test_a_wrong_t_i_is_told_in_one_sentence_and_loses_nothing(comfyui_server, first_run, short):
    run = comfyui_server.queue(changed(short, "S2FlowUpsample", t_i=99))
    assert not run.succeeded
    assert f"t_i (steps left for high resolution) is 99, but the LR run recorded {FEW_STEPS}" in run.error
    again = comfyui_server.queue(changed(short, "S2FlowUpsample", t_i=3))
    assert again.succeeded, again.error
    assert id_of(short, "S2FlowLowResSampler") in again.cached_nodes


def test_the_log_holds_no_traceback_but_that_of_the_wrong_input(comfyui_server, first_run):
    assert "S²Flow windows: attention density" in comfyui_server.log()
