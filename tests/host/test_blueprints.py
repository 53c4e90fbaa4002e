"""The blueprints: as the generator writes them, linked where the nodes say, and running."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from blueprint_graphs import INPUTS, OUTPUTS, flattened
from run_prompt import PromptRun
from tiny_variant import older_than

from comfyui_runner.installation import ROOT
from comfyui_runner.workflow_api import to_api
from templates.blueprints import blueprints_of, file_of
from templates.writing import is_newer

Json = dict[str, Any]
FILES = sorted((ROOT / "subgraphs").glob("*.json"))
WANTED = {
    "S2Flow 2x": [
        "model", "positive", "negative", "vae",
        "width", "height", "length", "steps", "cfg", "seed", "t_i", "s",
    ],
    "S2Flow Bowtie preview": [
        "model", "positive", "negative", "vae",
        "width", "height", "length", "steps", "k", "cfg", "seed", "scale",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def definitions(comfy_modules) -> Json:
    """Of every node, as GET /object_info gives them to the browser."""
    from test_real_model_workflows import definition_of

    return {name: definition_of(node) for name, node in comfy_modules.nodes.NODE_CLASS_MAPPINGS.items()}


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def blueprint(request) -> Json:
    return json.loads(request.param.read_text(encoding="utf-8"))


def test_files_are_what_the_generator_writes(definitions):
    made = blueprints_of(definitions)
    assert {file_of(one) for one in made} == set(FILES) and set(WANTED) == {file.stem for file in FILES}
    if is_newer(definitions):
        return  # written by the older, because nodes grow
    for one in made:
        assert file_of(one).read_text(encoding="utf-8") == one.text(), one.name


def test_it_takes_what_an_artist_sets(blueprint):
    (node,) = blueprint["nodes"]
    (graph,) = blueprint["definitions"]["subgraphs"]
    assert node["type"] == graph["id"] and graph["name"] in WANTED
    names = [given["name"] for given in node["inputs"]]
    assert names == [given["name"] for given in graph["inputs"]] == WANTED[graph["name"]]
    shown = [given["name"] for given in node["inputs"] if "widget" in given]
    assert [["-1", name] for name in shown] == node["properties"]["proxyWidgets"]
    assert len(node["widgets_values"]) == len(shown) == len(names) - 4
    assert graph["description"].endswith(".") and graph["category"] == "S²Flow"
    assert all(given["linkIds"] for given in graph["inputs"] + graph["outputs"])


def test_links_start_and_end_where_the_nodes_say(definitions, blueprint):
    (graph,) = blueprint["definitions"]["subgraphs"]
    nodes = {node["id"]: node for node in graph["nodes"]}
    for link in graph["links"]:
        kind, number = link["type"], link["id"]
        if link["origin_id"] == INPUTS:
            slot = graph["inputs"][link["origin_slot"]]
            assert number in slot["linkIds"] and slot["type"] == kind
        else:
            origin = nodes[link["origin_id"]]
            assert number in origin["outputs"][link["origin_slot"]]["links"]
            assert definitions[origin["type"]]["output"][link["origin_slot"]] == kind
        if link["target_id"] == OUTPUTS:
            slot = graph["outputs"][link["target_slot"]]
            assert number in slot["linkIds"] and slot["type"] == kind
        else:
            into = nodes[link["target_id"]]["inputs"][link["target_slot"]]
            assert into["link"] == number and into["type"] == kind


def test_values_outside_are_those_that_the_widgets_inside_take(definitions, blueprint):
    (graph,), (node,) = blueprint["definitions"]["subgraphs"], blueprint["nodes"]
    nodes = {one["id"]: one for one in graph["nodes"]}
    shown = [given["name"] for given in node["inputs"] if "widget" in given]
    for name, value in zip(shown, node["widgets_values"], strict=True):
        slot = next(n for n, given in enumerate(graph["inputs"]) if given["name"] == name)
        for link in graph["links"]:
            if (link["origin_id"], link["origin_slot"]) != (INPUTS, slot):
                continue
            target = nodes[link["target_id"]]
            into = target["inputs"][link["target_slot"]]["name"]
            groups = definitions[target["type"]]["input"]
            kind, options = next(group[into] for group in groups.values() if into in group)
            assert options["min"] <= value <= options["max"], (name, target["type"])
            assert isinstance(value, {"INT": int, "FLOAT": float}[kind])


def test_it_runs_on_the_demos_models(comfy_modules, definitions, blueprint):
    if older_than("0.3.75"):
        pytest.skip("needs the demo's loaders")
    flat = flattened(blueprint)
    prompt = to_api(flat, definitions)
    for node in flat["nodes"]:
        prompt[str(node["id"])]["inputs"] |= node.get("set", {})
    run = PromptRun(comfy_modules, prompt, lambda kind, inputs: None)
    (graph,) = blueprint["definitions"]["subgraphs"]
    with torch.inference_mode():
        made = {
            graph["outputs"][link["target_slot"]]["name"]: run.result(str(link["origin_id"]))[
                link["origin_slot"]
            ]
            for link in graph["links"]
            if link["target_id"] == OUTPUTS
        }
    if graph["name"] == "S2Flow 2x":
        assert made["small"].shape == (5, 64, 64, 3) and made["large"].shape == (5, 128, 128, 3)
        assert made["report"].splitlines()[1].startswith("Verdict: ")
        assert made["large"].isfinite().all()
    else:
        assert made["preview"].shape == (5, 32, 32, 3) and made["preview"].isfinite().all()
        assert made["trajectory"].finished
