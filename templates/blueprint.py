"""A graph as one node that artists drag in: core's subgraph format, as its own `blueprints/` have it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from templates.canvas import Canvas, as_text
from templates.layout import ROW, WIDGET
from templates.node import Json, Output

# The ids that stand for what lies outside, in a subgraph's links.
INPUTS, OUTPUTS = -10, -20
MARGIN, WIDTH, HEAD = 160, 120, 40


@dataclass(frozen=True)
class Blueprint:
    """name: of the file and of the node. about: what it says of itself. inputs: (name, type, value) in the
    node's order, value None for a socket; their place is the slot of `given`. outputs: (name, output)."""

    name: str
    about: str
    canvas: Canvas
    inputs: tuple[tuple[str, str, Any], ...]
    outputs: tuple[tuple[str, Output], ...]

    def text(self) -> str:
        """The file's content."""
        identity = self.id_of("subgraph")
        return as_text(
            {
                "revision": 0,
                "last_node_id": 1,
                "last_link_id": 0,
                "nodes": [self.node(identity)],
                "links": [],
                "version": 0.4,
                "definitions": {"subgraphs": [self.subgraph(identity)]},
                "extra": {},
            }
        )

    def node(self, identity: str) -> Json:
        """What is put into the artist's graph."""
        widgets = [(name, value) for name, _, value in self.inputs if value is not None]
        rows = max(len(self.inputs) - len(widgets), len(self.outputs))
        inputs: list[Json] = []
        for name, kind, value in self.inputs:
            shown = {} if value is None else {"widget": {"name": name}}
            inputs.append({"name": name, "type": kind, **shown, "link": None})
        outputs = [{"name": name, "type": source.kind, "links": None} for name, source in self.outputs]
        return {
            "id": 1,
            "type": identity,
            "pos": [0, 0],
            "size": [340, rows * ROW + len(widgets) * WIDGET + HEAD],
            "flags": {},
            "order": 0,
            "mode": 0,
            "inputs": inputs,
            "outputs": outputs,
            "title": self.name,
            "properties": {"proxyWidgets": [["-1", name] for name, _ in widgets]},
            "widgets_values": [value for _, value in widgets],
        }

    def subgraph(self, identity: str) -> Json:
        written = self.canvas.workflow()
        links: list[Json] = [
            dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"), link))
            for link in written["links"]
        ]
        nodes = {node["id"]: node for node in written["nodes"]}
        for slot, (_, source) in enumerate(self.outputs):
            number = len(links) + 1
            ends = {"target_id": OUTPUTS, "target_slot": slot, "type": source.kind}
            links.append({"id": number, "origin_id": source.node, "origin_slot": source.slot, **ends})
            out = nodes[source.node]["outputs"][source.slot]
            out["links"] = [*(out["links"] or []), number]
        boxes = [group["bounding"] for group in written["groups"]]
        right, middle = max(box[0] + box[2] for box in boxes), max(box[3] for box in boxes) / 2
        return {
            "id": identity,
            "version": 1,
            "state": {
                "lastGroupId": len(boxes),
                "lastNodeId": max(nodes),
                "lastLinkId": len(links),
                "lastRerouteId": 0,
            },
            "revision": 0,
            "config": {},
            "name": self.name,
            "inputNode": end(INPUTS, -MARGIN - WIDTH, middle, len(self.inputs)),
            "outputNode": end(OUTPUTS, right + MARGIN, middle, len(self.outputs)),
            "inputs": [
                self.slot(f"in {name}", name, kind, [link["id"] for link in links if starts(link, slot)])
                for slot, (name, kind, _) in enumerate(self.inputs)
            ],
            "outputs": [
                self.slot(
                    f"out {name}", name, source.kind, [link["id"] for link in links if ends_at(link, slot)]
                )
                for slot, (name, source) in enumerate(self.outputs)
            ],
            "widgets": [],
            "nodes": list(nodes.values()),
            "groups": written["groups"],
            "links": links,
            "extra": {},
            "category": "S²Flow",
            "description": self.about,
        }

    def slot(self, what: str, name: str, kind: str, links: list[int]) -> Json:
        return {"id": self.id_of(what), "name": name, "type": kind, "linkIds": links}

    def id_of(self, what: str) -> str:
        """The same in every writing, so that a graph that holds the node finds its definition again."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"s2flow/blueprint/{self.name}/{what}"))


def given(inputs: tuple[tuple[str, str, Any], ...], name: str) -> Output:
    """An input of the blueprint as the nodes inside it see it."""
    slot = [known for known, _, _ in inputs].index(name)
    return Output(INPUTS, slot, inputs[slot][1])


def starts(link: Json, slot: int) -> bool:
    return link["origin_id"] == INPUTS and link["origin_slot"] == slot


def ends_at(link: Json, slot: int) -> bool:
    return link["target_id"] == OUTPUTS and link["target_slot"] == slot


def end(number: int, left: float, middle: float, slots: int) -> Json:
    height = HEAD + slots * ROW
    return {"id": number, "bounding": [left, middle - height / 2, WIDTH, height]}
