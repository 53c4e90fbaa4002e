"""Every bundled workflow becomes a prompt that this ComfyUI takes, by its own check and without a server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from comfyui_runner.installation import ROOT
from comfyui_runner.workflow_api import to_api

WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))


def definitions_for(workflow: dict[str, Any], modules: Any) -> dict[str, Any]:
    """The part of what GET /object_info answers that a workflow needs."""
    kinds = {node["type"] for node in workflow["nodes"]} & modules.nodes.NODE_CLASS_MAPPINGS.keys()
    return json.loads(json.dumps({kind: definition_of(modules.node(kind)) for kind in kinds}))


def definition_of(node: Any) -> dict[str, Any]:
    if hasattr(node, "GET_NODE_INFO_V1"):
        return node.GET_NODE_INFO_V1()
    return {"input": node.INPUT_TYPES(), "display_name": node.__name__}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_bundled_workflow_is_a_valid_prompt(comfy_modules, path):
    import execution

    workflow = json.loads(path.read_text(encoding="utf-8"))
    prompt = to_api(workflow, definitions_for(workflow, comfy_modules))
    valid, error, outputs, problems = asyncio.run(execution.validate_prompt("test", prompt, None))
    assert valid, error
    assert not problems
    saved = {key for key, node in prompt.items() if node["class_type"] == "SaveVideo"}
    assert saved and saved <= set(outputs)


def test_a_prompt_without_its_format_is_not_taken(comfy_modules):
    """The check above would notice what was missing."""
    import execution

    workflow = json.loads(WORKFLOWS[0].read_text(encoding="utf-8"))
    prompt = to_api(workflow, definitions_for(workflow, comfy_modules))
    (key, *_) = [key for key, node in prompt.items() if node["class_type"] == "SaveVideo"]
    del prompt[key]["inputs"]["format"]
    _, _, outputs, problems = asyncio.run(execution.validate_prompt("test", prompt, None))
    assert key not in outputs
    assert "format" in json.dumps(problems[key])
