"""Blueprints in graphs: flattened for a run in this process, or as one node beside the demo's loaders."""

from __future__ import annotations

import copy
from typing import Any

Json = dict[str, Any]
INPUTS, OUTPUTS = -10, -20
# Loaders of the demo: (id, type, widget values, type of each output).
LOADERS = (
    (101, "UNETLoader", ["s2flow_demo_wan_t2v.safetensors", "default"], ["MODEL"]),
    (102, "VAELoader", ["s2flow_demo_wan_vae.safetensors"], ["VAE"]),
    (103, "S2FlowDemoPrompt", ["red", "triangle", "right", "water"], ["CONDITIONING", "CONDITIONING"]),
)
SOURCES = {"model": (101, 0), "vae": (102, 0), "positive": (103, 0), "negative": (103, 1)}
SMALL = {"width": 64, "height": 64, "length": 5, "steps": 4, "k": 1, "cfg": 4.0}


def loaders() -> list[Json]:
    return [
        {
            "id": number, "type": kind, "pos": [0, 200 * n], "size": [300, 150],
            "flags": {}, "order": n, "mode": 0,
            "inputs": [], "outputs": [{"name": of.lower(), "type": of, "links": []} for of in outputs],
            "properties": {}, "widgets_values": values,
        }
        for n, (number, kind, values, outputs) in enumerate(LOADERS)
    ]  # fmt: skip


def flattened(blueprint: Json) -> Json:
    """The nodes inside, with the demo's loaders at the sockets and `SMALL` at the widgets."""
    blueprint = copy.deepcopy(blueprint)
    (graph,) = blueprint["definitions"]["subgraphs"]
    (node,) = blueprint["nodes"]
    shown = [name["name"] for name in node["inputs"] if "widget" in name]
    values = dict(zip(shown, node["widgets_values"])) | SMALL
    inside = {node["id"]: node for node in graph["nodes"]}
    links = []
    for link in graph["links"]:
        if link["target_id"] == OUTPUTS:
            continue
        if link["origin_id"] != INPUTS:
            links.append(
                [link[key] for key in ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")]
            )
            continue
        name = graph["inputs"][link["origin_slot"]]["name"]
        target = inside[link["target_id"]]["inputs"][link["target_slot"]]
        if name in SOURCES:
            links.append([link["id"], *SOURCES[name], link["target_id"], link["target_slot"], link["type"]])
        else:
            target["link"] = None
            inside[link["target_id"]].setdefault("set", {})[target["name"]] = values[name]
    return {"nodes": [*loaders(), *inside.values()], "links": links}


def as_artists_graph(blueprint: Json) -> Json:
    """The blueprint as one node, its sockets linked to the demo's loaders, its pictures to Preview Image."""
    graph = copy.deepcopy(blueprint)
    (node,) = graph["nodes"]
    nodes = {one["id"]: one for one in loaders()}
    links: list[list[Any]] = []

    def link(origin: Json, slot: int, target: Json, into: int, kind: str) -> None:
        links.append([len(links) + 1, origin["id"], slot, target["id"], into, kind])
        origin["outputs"][slot]["links"] = [*(origin["outputs"][slot]["links"] or []), len(links)]
        target["inputs"][into]["link"] = len(links)

    node["pos"] = [400, 0]
    for slot, given in enumerate(node["inputs"]):
        if given["name"] in SOURCES:
            number, out = SOURCES[given["name"]]
            link(nodes[number], out, node, slot, given["type"])
    shown = [name["name"] for name in node["inputs"] if "widget" in name]
    node["widgets_values"] = list((dict(zip(shown, node["widgets_values"])) | SMALL)[name] for name in shown)
    for slot, output in enumerate(node["outputs"]):
        if output["type"] == "IMAGE":
            preview = {
                "id": 200 + slot, "type": "PreviewImage", "pos": [900, 400 * slot], "size": [300, 300],
                "flags": {}, "order": 9, "mode": 0, "outputs": [], "properties": {}, "widgets_values": [],
                "inputs": [{"name": "images", "type": "IMAGE", "link": None}],
            }  # fmt: skip
            nodes[preview["id"]] = preview
            link(node, slot, preview, 0, "IMAGE")
    return graph | {
        "nodes": [node, *nodes.values()],
        "links": links,
        "last_node_id": 300,
        "last_link_id": len(links),
    }
