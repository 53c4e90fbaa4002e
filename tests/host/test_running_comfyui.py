"""The host that ./demo.sh and ./test.sh set up: it starts, loads the pack, and runs what we queue."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from comfyui_runner.client import PromptRefused
from comfyui_runner.installation import ROOT
from comfyui_runner.ports import free_port
from comfyui_runner.server import ComfyServer, ServerFailed
from comfyui_runner.workflow_api import DYNAMIC_COMBO, inputs_taken, to_api
from demo.run_demo.video_files import read_facts

OUR_NODES = {
    "S2FlowLowResSampler",
    "S2FlowUpsample",
    "S2FlowWindowMask",
    "S2FlowHighResSampler",
    "S2FlowNoiseReshift",
    "S2FlowRefinerSampler",
    "S2FlowContactSheet",
    "S2FlowPickPreview",
    "S2FlowPreviewGate",
}


def small_video(color: int = 255, rate: float = 12.0) -> dict[str, Any]:
    return {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 64, "height": 48, "batch_size": 3, "color": color},
        },
        "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": rate}},
        "3": {
            "class_type": "SaveVideo",
            "inputs": {"video": ["2", 0], "filename_prefix": "small", "format": "mp4", "codec": "h264"},
        },
    }


def test_server_loads_the_pack_without_a_word_of_complaint(comfyui_server):
    assert comfyui_server.object_info.keys() >= OUR_NODES
    # Later tests queue wrong inputs on purpose; loading ends where the server starts.
    log, started, _ = comfyui_server.log().partition("Starting server")
    assert started
    assert "Traceback" not in log
    assert "IMPORT FAILED" not in log


def test_the_pack_does_not_import_triton(comfy_modules):
    kernels = [
        name for name in sys.modules if name.startswith(comfy_modules.pack_name) and ".kernels" in name
    ]
    assert kernels == []


def test_nodes_are_comfyuis_own_and_the_packs(comfy_modules):
    assert comfy_modules.node("KSampler").__module__ == "nodes"
    assert comfy_modules.node("S2FlowWindowMask").__module__.startswith(comfy_modules.pack_name)
    assert comfy_modules.pack("s2flow_core.windows.grid").TokenGrid


def test_a_prompt_runs_and_a_second_time_comes_from_the_cache(comfyui_server):
    first = comfyui_server.queue(small_video(color=1000))
    assert first.succeeded
    assert first.error is None
    assert first.executed_nodes == {"1", "2", "3"}
    saved = first.outputs["3"]["images"][0]
    facts = read_facts(comfyui_server.output / saved["subfolder"] / saved["filename"])
    assert (facts.width, facts.height, facts.frames, facts.rate) == (64, 48, 3, 12)

    slower = comfyui_server.queue(small_video(color=1000, rate=6.0))
    assert slower.cached_nodes == {"1"}
    assert slower.executed_nodes == {"2", "3"}


def test_a_half_valid_prompt_is_refused_as_a_whole(comfyui_server):
    prompt = small_video() | {
        "4": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 500.0}},
        "5": {"class_type": "SaveVideo", "inputs": small_video()["3"]["inputs"] | {"video": ["4", 0]}},
    }
    with pytest.raises(PromptRefused, match=r"Node 4 .*500.* bigger than max of 120.*fps"):
        comfyui_server.queue(prompt)


def test_a_failing_node_is_named(comfyui_server):
    prompt = small_video(color=2000)
    prompt["1"]["inputs"]["width"] = 65  # H.264 cannot store odd sizes
    run = comfyui_server.queue(prompt)
    assert not run.succeeded
    assert run.error is not None
    assert run.error.startswith("Node 3 (SaveVideo) failed: ")


def test_a_port_in_use_ends_the_start_with_the_reason(comfyui_server, tmp_path):
    server = comfyui_server.server
    second = ComfyServer(server.comfyui, server.python, server.port, tmp_path, cpu=True)
    taken = (
        rf"Port {server.port} is taken by .*\(process {server.process.pid}\).*S2FLOW_PORT={server.port + 1}"
    )
    with pytest.raises(ServerFailed, match=taken):
        second.start()


def test_a_server_that_ends_at_once_says_why(comfyui_server, tmp_path):
    (tmp_path / "main.py").write_text("raise SystemExit('no such graphics card')")
    server = ComfyServer(tmp_path, comfyui_server.server.python, free_port(), tmp_path / "work", cpu=True)
    with pytest.raises(ServerFailed, match=r"(?s)ended with status 1.*no such graphics card"):
        server.start()


@pytest.mark.parametrize(
    "file", sorted((ROOT / "workflows").glob("0*, no download.json")), ids=lambda path: path.stem
)
def test_bundled_workflows_convert_to_what_the_server_knows(comfyui_server, file):
    prompt = to_api(json.loads(file.read_text(encoding="utf-8")), comfyui_server.object_info)
    for node in prompt.values():
        definition = comfyui_server.object_info[node["class_type"]]
        known = dict(inputs_taken(definition, node["inputs"]))
        assert node["inputs"].keys() <= known.keys()
        assert node["inputs"].keys() >= definition["input"].get("required", {}).keys(), node
        for name, value in node["inputs"].items():
            choices = choices_of(known[name])
            if choices and not name.endswith("_name"):
                assert value in choices, (node["class_type"], name)


def choices_of(spec: list[Any]) -> list:
    kind, *rest = spec
    if isinstance(kind, list):
        return kind
    options = (rest[0] if rest else {}).get("options") or []
    return [option["key"] for option in options] if kind == DYNAMIC_COMBO else options
