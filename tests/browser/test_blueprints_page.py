"""The blueprints in ComfyUI's frontend: listed, opened as one node, and run."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from blueprint_graphs import as_artists_graph
from running_comfy import RunningComfy

from comfyui_runner.installation import ROOT

from .frontend import Frontend

FILES = sorted((ROOT / "subgraphs").glob("*.json"))
LISTED = """async () => {
    const answer = await fetch(window.comfyAPI.api.api.apiURL('/global_subgraphs'));
    return answer.ok ? await answer.json() : null;
}"""
LOAD = "(graph) => window.app.loadGraphData(graph, true, true)"


def test_comfyui_lists_them(frontend: Frontend):
    listed = frontend.page.evaluate(LISTED)
    if listed is None:
        pytest.skip("this ComfyUI has no blueprints")
    names = {entry["name"] for entry in listed.values() if entry["source"] == "custom_node"}
    assert names == {file.stem for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_opens_as_one_node_and_runs(frontend: Frontend, comfyui_server: RunningComfy, file):
    graph = as_artists_graph(json.loads(file.read_text(encoding="utf-8")))
    with frontend.watched() as complaints:
        frontend.page.evaluate(LOAD, graph)
        frontend.wait_until_drawn()
        (node,) = (node for node in frontend.nodes() if node["title"] == file.stem)
        assert complaints == [] and frontend.dialogs() == []
    shown = {widget["name"]: widget["value"] for widget in node["widgets"]}
    assert {"width": 64, "height": 64, "length": 5, "steps": 4}.items() <= shown.items()
    prompt = frontend.prompt()
    kinds = [one["class_type"] for one in prompt.values()]
    assert "S2FlowLowResSampler" in kinds
    # The page's own event loop runs in this thread.
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(comfyui_server.queue, prompt).result()
    assert run.succeeded, run.error
    assert sum("images" in output for output in run.outputs.values()) == kinds.count("PreviewImage")
