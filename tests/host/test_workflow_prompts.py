"""Every bundled workflow becomes a prompt that this ComfyUI takes, by its own check and without a server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from comfyui_runner.installation import ROOT
from comfyui_runner.workflow_api import to_api

# Of the demo; those for real models name files that are not here.
WORKFLOWS = sorted((ROOT / "workflows").glob("0*, no download.json"))


def definitions_for(workflow: dict[str, Any], modules: Any) -> dict[str, Any]:
    """The part of what GET /object_info answers that a workflow needs."""
    kinds = {node["type"] for node in workflow["nodes"]} & modules.nodes.NODE_CLASS_MAPPINGS.keys()
    return json.loads(json.dumps({kind: definition_of(modules.node(kind)) for kind in kinds}))


def definition_of(node: Any) -> dict[str, Any]:
    if hasattr(node, "GET_NODE_INFO_V1"):
        return node.GET_NODE_INFO_V1()
    return {"input": node.INPUT_TYPES(), "display_name": node.__name__}


def left_out(prompt: dict[str, Any], definitions: dict[str, Any]) -> list[tuple[str, str]]:
    """(node, input) for required inputs without a value. Core misses some only as the node runs."""
    return [
        (node["class_type"], name)
        for node in prompt.values()
        for name in definitions[node["class_type"]]["input"].get("required", {})
        if name not in node["inputs"]
    ]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_bundled_workflow_is_a_valid_prompt(comfy_modules, path):
    import execution

    workflow = json.loads(path.read_text(encoding="utf-8"))
    definitions = definitions_for(workflow, comfy_modules)
    prompt = to_api(workflow, definitions)
    valid, error, outputs, problems = asyncio.run(execution.validate_prompt("test", prompt, None))
    assert valid, error
    assert not problems
    saved = {key for key, node in prompt.items() if node["class_type"] == "SaveVideo"}
    assert saved and saved <= set(outputs)
    assert left_out(prompt, definitions) == []
    for key in saved:
        del prompt[key]["inputs"]["format"]
    assert left_out(prompt, definitions) == [("SaveVideo", "format")] * len(saved)
