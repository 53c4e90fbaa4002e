"""Every bundled workflow beside the quickstart runs on a real server and leaves the videos it promises."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from comfyui_runner.installation import ROOT
from comfyui_runner.workflow_api import to_api
from demo.run_demo.video_files import read_facts

# Fewer steps and frames than the artist gets; the graph stays what it is.
SHORTER: dict[str, dict[str, Any]] = {
    "BasicScheduler": {"steps": 4},
    "PrimitiveInt": {"value": 2},  # k of the bowtie
    "S2FlowUpsample": {"t_i": 1},
    "S2FlowRefinerSampler": {"steps": 2},
    "EmptyHunyuanLatentVideo": {"length": 5, "batch_size": 2},
    "S2FlowPreviewGate": {"go": True},
}
PROMISED = {
    "03 Bowtie preview, large run, no download": {"s2flow_bowtie_preview": 96, "s2flow_bowtie": 256},
    "04 Bowtie preview, Refiner, no download": {
        "s2flow_bowtie_refiner_preview": 96,
        "s2flow_bowtie_refiner": 256,
    },
    "05 FlashVideo, no download": {"s2flow_flashvideo_stage1": 128, "s2flow_flashvideo": 256},
    "02 Pick one of four, no download": {"s2flow_picked": 256},
    "06 Chain to four times the size, no download": {
        "s2flow_chain_preview": 128,
        "s2flow_chain_twice": 256,
        "s2flow_chain": 512,
    },
}
# How many times as large as the first video the last one is, where it is not twice.
TIMES = {"06 Chain to four times the size, no download": 4}

# The node's input that holds the video whose size it changes; a trajectory has the size of its run.
CHANGE_THE_SIZE = {
    "S2FlowNoiseReshift": "latent",
    "S2FlowUpsample": "trajectory",
    "S2FlowRefinerSampler": "latent",
}
# What the gate of "pick one of four" holds back.
LARGE = {"S2FlowUpsample", "S2FlowWindowMask", "S2FlowHighResSampler"}
# What it lets go on: the frames to the saved video and to the comparison.
AFTER = {"VAEDecode", "S2FlowPreviewGate", "CreateVideo", "SaveVideo", "S2FlowCompare"}
# Of Wan: pixels per latent cell, and cells per token.
CELL, PATCH = 8, (1, 2, 2)


def as_prompt(comfyui_server, name: str) -> dict[str, Any]:
    workflow = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    return to_api(workflow, comfyui_server.object_info)


def shortened(prompt: dict[str, Any], **changes: dict[str, Any]) -> dict[str, Any]:
    """The prompt with the short values above and `changes` by class, where a node does not hold a 1."""
    prompt = copy.deepcopy(prompt)
    for node in prompt.values():
        for key, value in (SHORTER | changes).get(node["class_type"], {}).items():
            if node["inputs"][key] != 1:
                node["inputs"][key] = value
    return prompt


def kinds(prompt: dict[str, Any], nodes: set[str]) -> set[str]:
    return {prompt[key]["class_type"] for key in nodes}


def sizes_of(comfy_modules, prompt: dict[str, Any], key: str, first: tuple[int, int]) -> tuple[int, int]:
    """(height, width) in pixels of the video that a node gives if the empty latent has the size `first`."""
    kind, inputs = prompt[key]["class_type"], prompt[key]["inputs"]
    if kind == "EmptyHunyuanLatentVideo":
        return first
    if kind in CHANGE_THE_SIZE:
        before = sizes_of(comfy_modules, prompt, inputs[CHANGE_THE_SIZE[kind]][0], first)
        cells = (before[0] // CELL, before[1] // CELL)
        width, height = inputs["width"], inputs["height"]
        if kind == "S2FlowNoiseReshift":
            shrunk_size = comfy_modules.pack("s2flow_core.transition.sizes").shrunk_size
            wanted = (height, width) if width else None
            height, width = shrunk_size(cells, PATCH[1:], CELL, inputs["scale"], wanted)
            return height * CELL, width * CELL
        video = comfy_modules.pack("s2flow_core.transition.sizes").LatentVideo((1, 16, 5, *cells), PATCH)
        wanted_size = comfy_modules.pack("nodes.host.size.enlarge").wanted_size
        size = wanted_size(video, CELL, inputs["scale"], width, height)
        return size.height, size.width
    # Samplers and the pick pass the size of their latent on.
    source = inputs.get("latent_image") or inputs.get("latent")
    return sizes_of(comfy_modules, prompt, source[0], first)


@pytest.mark.parametrize("first", [(480, 832), (720, 1280)], ids=["480p", "720p"])
@pytest.mark.parametrize("name", ["01 Quickstart, no download", *PROMISED])
def test_a_real_models_size_in_the_empty_latent_is_all_that_must_change(
    comfy_modules, comfyui_server, name, first
):
    """Sizes alone, as the nodes work them out: none is refused, and the last is as large as promised."""
    prompt = as_prompt(comfyui_server, name)
    changing = [key for key, node in prompt.items() if node["class_type"] in CHANGE_THE_SIZE]
    assert changing
    sizes = [sizes_of(comfy_modules, prompt, key, first) for key in changing]
    for height, width in sizes:
        assert height % (CELL * PATCH[1]) == width % (CELL * PATCH[2]) == 0
    largest = max(sizes)
    for side, own in zip(largest, first, strict=True):
        assert abs(side - TIMES.get(name, 2) * own) <= CELL * PATCH[1]


def test_every_workflow_has_a_thumbnail():
    workflows = {path.stem for path in (ROOT / "workflows").glob("*.json")}
    assert workflows == {path.stem for path in (ROOT / "workflows").glob("*.jpg")}
    of_the_demo = {name for name in workflows if name.endswith(", no download")}
    assert of_the_demo == {*PROMISED, "01 Quickstart, no download"}


@pytest.mark.parametrize("name", PROMISED)
def test_workflow_runs_and_leaves_its_videos(comfyui_server, name):
    run = comfyui_server.queue(shortened(as_prompt(comfyui_server, name)))
    assert run.succeeded, run.error
    sizes = {}
    for output in run.outputs.values():
        for saved in output.get("images", []):
            if saved["filename"].endswith(".mp4") and saved["type"] == "output":
                facts = read_facts(comfyui_server.output / saved["subfolder"] / saved["filename"])
                assert facts.width == facts.height
                sizes[saved["filename"].rsplit("_", 2)[0]] = facts.width
    assert sizes == PROMISED[name]


@pytest.mark.parametrize(
    "name", ["03 Bowtie preview, large run, no download", "04 Bowtie preview, Refiner, no download"]
)
def test_the_bowtie_changes_size_after_the_same_k_everywhere(comfyui_server, name):
    prompt = as_prompt(comfyui_server, name)
    inputs = {node["class_type"]: node["inputs"] for node in prompt.values()}
    source, slot = inputs["SplitSigmas"]["step"]
    assert inputs["S2FlowNoiseReshift"]["k"] == [source, slot]
    assert prompt[source]["inputs"]["value"] == 10
    assert inputs["BasicScheduler"]["steps"] == 40


def test_picking_starts_with_the_gate_closed(comfyui_server):
    inputs = {
        node["class_type"]: node["inputs"]
        for node in as_prompt(comfyui_server, "02 Pick one of four, no download").values()
    }
    assert inputs["S2FlowPreviewGate"]["go"] is False
    assert inputs["EmptyHunyuanLatentVideo"]["batch_size"] == 4


def test_no_seed_changes_by_itself(comfyui_server):
    """What the gate and the sliders promise rests on it: ComfyUI keeps what has the same widgets."""
    for path in (ROOT / "workflows").glob("*.json"):
        for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]:
            assert not {"randomize", "increment", "decrement"} & set(node.get("widgets_values") or []), node
    inputs = comfyui_server.object_info["S2FlowNoiseReshift"]["input"]["required"]
    assert inputs["seed"][1]["control_after_generate"] is False


def test_the_gate_of_the_bundled_workflow_holds_back_the_large_video_alone(comfyui_server):
    prompt = as_prompt(comfyui_server, "02 Pick one of four, no download")
    seed = {"noise_seed": 11}  # of no other test, so that nothing of it is cached
    off = comfyui_server.queue(shortened(prompt, RandomNoise=seed, S2FlowPreviewGate={"go": False}))
    assert off.succeeded, off.error
    assert {"S2FlowLowResSampler", "S2FlowContactSheet"} <= kinds(prompt, off.executed_nodes)
    assert not kinds(prompt, off.executed_nodes) & LARGE
    on = comfyui_server.queue(shortened(prompt, RandomNoise=seed, S2FlowPreviewGate={"go": True}))
    assert on.succeeded, on.error
    assert kinds(prompt, on.executed_nodes) == LARGE | AFTER
