"""A workflow under construction: nodes in columns, with links, values by name and room for previews."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from comfyui_runner.workflow_api import DYNAMIC_COMBO, default_of, has_control, inputs_taken
from templates.layout import Group, place, saved_view
from templates.node import Json, Node, Output, is_widget, kind_of, linked_widgets, options, slot_of


class Canvas:
    """definitions: of every node, as GET /object_info answers."""

    def __init__(self, definitions: Json, title: str):
        self.definitions = definitions
        self.title = title
        self.nodes: list[Node] = []
        self.groups: list[Group] = []
        self.notes: list[str] = []

    def group(self, title: str, color: str, narrow: bool = False) -> None:
        """What is added from here on stands in a new frame."""
        self.groups.append(Group(title, color, [[]], narrow))

    def column(self) -> None:
        """What is added from here on stands to the right of what the frame holds."""
        self.groups[-1].columns.append([])

    def add(
        self, kind: str, title: str | None = None, models: list[Json] | None = None, /, **given: Any
    ) -> Node:
        """A node with links (Output) and values by input; what is not given has the node's own default.

        Raises ValueError for an input that the node does not have or that has to be linked and is not.
        """
        if kind not in self.definitions:
            raise ValueError(f"This ComfyUI has no node '{kind}', which '{self.title}' needs.")
        definition = self.definitions[kind]
        links = {name: value for name, value in given.items() if isinstance(value, Output)}
        values = {name: value for name, value in given.items() if name not in links}
        names = dict(inputs_taken(definition, values))
        if strange := given.keys() - names.keys():
            raise ValueError(f"{kind} has no input {', '.join(sorted(strange))}; it has {', '.join(names)}.")
        node = Node(len(self.nodes) + 1, kind, definition, title, links, [], models or [])
        node.values = list(widget_values(definition, values))
        for name in definition["input"].get("required", {}):
            if name in dict(node.sockets()) and name not in links:
                raise ValueError(f"{kind} needs a link at {name}.")
        self.nodes.append(node)
        self.groups[-1].columns[-1].append(node)
        return node

    def note(self, text: str) -> None:
        self.notes.append(text)

    def workflow(self) -> Json:
        """The file's content, as the browser saves it."""
        place(self.groups, self.notes)
        links = [
            [number, source.node, source.slot, node.number, slot_of(node, name), source.kind]
            for number, (node, name, source) in enumerate(self.every_link(), 1)
        ]
        notes = [note.written() for note in self.groups[0].notes]
        nodes = [self.written(node, links) for node in self.nodes] + notes
        for number, note in enumerate(notes, len(self.nodes) + 1):
            note |= {"id": number, "order": number - 1}
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"s2flow/{self.title}")),
            "revision": 0,
            "last_node_id": len(nodes),
            "last_link_id": len(links),
            "nodes": nodes,
            "links": links,
            "groups": [group.written(number) for number, group in enumerate(self.groups, 1)],
            "config": {},
            "extra": {"ds": saved_view([*(group.box for group in self.groups), *map(box_of, notes)])},
            "version": 0.4,
        }

    def every_link(self) -> Iterator[tuple[Node, str, Output]]:
        for node in self.nodes:
            for name in sorted(node.links, key=lambda name, node=node: slot_of(node, name)):
                yield node, name, node.links[name]

    def written(self, node: Node, links: list[list[Any]]) -> Json:
        into = {slot: number for number, _, _, target, slot, _ in links if target == node.number}
        inputs: list[Json] = [
            {"name": name, "type": kind, "link": into.get(slot)}
            for slot, (name, kind) in enumerate(node.sockets())
        ]
        for name in linked_widgets(node):
            link = into[len(inputs)]
            inputs.append(
                {"name": name, "type": node.links[name].kind, "link": link, "widget": {"name": name}}
            )
        out_of: dict[int, list[int]] = {}
        for number, origin, slot, *_ in links:
            if origin == node.number:
                out_of.setdefault(slot, []).append(number)
        properties: Json = {"Node name for S&R": node.kind}
        if node.models:
            properties["models"] = node.models
        outputs = zip(node.definition["output_name"], node.definition["output"])
        written: Json = {
            "id": node.number,
            "type": node.kind,
            "pos": node.box[:2],
            "size": node.box[2:],
            "flags": {},
            "order": node.number - 1,
            "mode": 0,
            "inputs": inputs,
            "outputs": [
                {"name": name, "type": kind_of(kind), "links": out_of.get(slot) or None}
                for slot, (name, kind) in enumerate(outputs)
            ],
            "properties": properties,
            "widgets_values": node.values,
        }
        if node.title:
            written["title"] = node.title
        if node.kind.startswith("S2Flow"):
            written |= {"color": "#232", "bgcolor": "#353"}
        return written


def widget_values(definition: Json, given: Mapping[str, Any]) -> Iterator[Any]:
    """One value for each widget in order, and "fixed" for the one that ComfyUI puts behind a seed."""
    given = with_chosen(definition, given)
    for name, (kind, *rest) in inputs_taken(definition, given):
        if not is_widget(kind, options(rest)):
            continue
        choices = kind if isinstance(kind, list) else options(rest).get("options")
        yield given.get(name, default_of(options(rest), choices if choices else None))
        if has_control(name, kind_of(kind), options(rest)):
            yield "fixed"


def with_chosen(definition: Json, given: Mapping[str, Any]) -> Json:
    """The values, with the first option of every combo that brings inputs of its own and was not given."""
    filled = dict(given)
    while True:
        open_combos = {
            name: options(rest)["options"][0]["key"]
            for name, (kind, *rest) in inputs_taken(definition, filled)
            if kind == DYNAMIC_COMBO and name not in filled
        }
        if not open_combos:
            return filled
        filled |= open_combos


def box_of(written: Json) -> list[float]:
    return [*written["pos"], *written["size"]]


def as_text(workflow: Json) -> str:
    return json.dumps(workflow, indent=2, ensure_ascii=False) + "\n"
