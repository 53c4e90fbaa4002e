"""Turns a workflow as the browser saves it into the form that ComfyUI's /prompt takes.

The same file then serves the artist in the browser and the demo on the command line. The rules are those of
the frontend's own export (graphToPrompt): widget values are stored by position and belong to the inputs that
become widgets, in the order of the node's definition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

WIDGET_TYPES = {"INT", "FLOAT", "BOOLEAN", "STRING", "COMBO", "MARKDOWN", "COLOR", "TEXTAREA"}
# A combo whose options have inputs of their own: `format` of Save Video brings `format.codec` and so on.
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
NOTHING = object()
ONLY_FOR_THE_EYE = {"Note", "MarkdownNote"}
MUTED, BYPASSED = 2, 4

Json = dict[str, Any]


class UnknownNode(ValueError):
    """The ComfyUI that was asked has no node of a class that the workflow uses."""


@dataclass(frozen=True)
class Link:
    """The output that a link starts at."""

    node: int | str
    slot: int


@dataclass(frozen=True)
class Value:
    """A fixed value in place of a link, from a primitive node."""

    value: Any


def to_api(workflow: Json, object_info: Json) -> Json:
    """The prompt for POST /prompt: node id to class_type, inputs and title.

    object_info is the server's answer to GET /object_info. Muted nodes and notes are left out, bypassed
    nodes, reroutes and primitives are resolved to what stands behind them. Raises ValueError for a node that
    this ComfyUI does not know and for subgraphs, which are not supported.
    """
    nodes = {str(node["id"]): node for node in workflow["nodes"]}
    links = dict(read_links(workflow))
    subgraphs = {s["id"] for s in workflow.get("definitions", {}).get("subgraphs", [])}
    prompt: Json = {}
    for key, node in nodes.items():
        kind = node["type"]
        if kind in ONLY_FOR_THE_EYE or is_virtual(node) or node.get("mode", 0) in (MUTED, BYPASSED):
            continue
        if kind in subgraphs:
            raise ValueError(f"'{title_of(node)}' is a subgraph; unpack it before running it from here.")
        if kind not in object_info:
            raise UnknownNode(f"This ComfyUI has no node '{kind}' (titled '{title_of(node)}').")
        inputs = widget_inputs(node, object_info[kind])
        for slot in node.get("inputs", []):
            source = resolve(slot.get("link"), slot["type"], nodes, links)
            if isinstance(source, Value):
                inputs[slot["name"]] = wrap(source.value)
            elif source is not None:
                inputs[slot["name"]] = [str(source.node), source.slot]
        title = node.get("title") or object_info[kind].get("display_name") or kind
        prompt[key] = {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}
    for node in prompt.values():
        node["inputs"] = {
            name: value
            for name, value in node["inputs"].items()
            if not isinstance(value, list) or value[0] in prompt
        }
    return prompt


def read_links(workflow: Json) -> Iterator[tuple[int, Link]]:
    """Every link's id and origin, from the list form of version 0.4 or the object form of version 1."""
    for link in workflow["links"]:
        if isinstance(link, dict):
            yield link["id"], Link(link["origin_id"], link["origin_slot"])
        else:
            yield link[0], Link(link[1], link[2])


def title_of(node: Json) -> str:
    return node.get("title") or node["type"]


def is_virtual(node: Json) -> bool:
    """Nodes that exist in the browser only."""
    return node["type"] in ("PrimitiveNode", "Reroute")


def definition_inputs(definition: Json) -> Iterator[tuple[str, list]]:
    """(name, spec) of every input in the order in which the frontend makes their widgets."""
    order = definition.get("input_order") or {}
    for group in ("required", "optional"):
        specs = definition.get("input", {}).get(group) or {}
        for name in order.get(group, specs):
            yield name, specs[name]


def inputs_taken(definition: Json, given: Json, within: str = "") -> Iterator[tuple[str, list]]:
    """(name, spec) of every input that a node takes with these values, those of a chosen option included."""
    for name, spec in definition_inputs(definition):
        yield within + name, spec
        if spec[0] == DYNAMIC_COMBO:
            inner = {"input": inputs_of_option(spec[1], given.get(within + name))}
            yield from inputs_taken(inner, given, f"{within}{name}.")


def has_control(name: str, kind: str, options: Json) -> bool:
    """Whether the frontend puts a "control after generate" widget behind this one."""
    by_name = kind == "INT" and name in ("seed", "noise_seed")
    return bool(options.get("control_after_generate", by_name))


def widget_inputs(node: Json, definition: Json) -> Json:
    """The values of a node's widgets by input name; defaults stand in for values that were not saved."""
    saved = node.get("widgets_values") or []
    if isinstance(saved, dict):
        return named_values(saved, definition["input"])
    return positioned_values(iter(saved), definition_inputs(definition))


def positioned_values(values: Iterator[Any], specs: Iterable[tuple[str, list]], within: str = "") -> Json:
    """Takes each widget's value from those that were saved in order. within: "format." for its options."""
    inputs: Json = {}
    for name, (kind, *rest) in specs:
        options: Json = rest[0] if rest else {}
        choices = kind if isinstance(kind, list) else options.get("options")
        kind = "COMBO" if isinstance(kind, list) else options.get("widgetType", kind)
        if kind == DYNAMIC_COMBO:
            chosen = inputs[within + name] = next(
                values, default_of(options, [o["key"] for o in choices or ()])
            )
            inner = definition_inputs({"input": inputs_of_option(options, chosen)})
            inputs |= positioned_values(values, inner, f"{within}{name}.")
            continue
        if kind not in WIDGET_TYPES or options.get("forceInput"):
            continue
        value = next(values, default_of(options, choices if kind == "COMBO" else None))
        if value is not NOTHING:
            inputs[within + name] = wrap(value)
        if has_control(name, kind, options):
            next(values, None)
            if kind == "COMBO":
                next(values, None)  # its filter text
    return inputs


def named_values(saved: Json, groups: Json, within: str = "") -> Json:
    """The saved values that belong to inputs of a node. groups: its inputs, required and optional."""
    inputs: Json = {}
    for name, (kind, *rest) in definition_inputs({"input": groups}):
        if within + name in saved:
            value = inputs[within + name] = wrap(saved[within + name])
            if kind == DYNAMIC_COMBO:
                inputs |= named_values(saved, inputs_of_option(rest[0], value), f"{within}{name}.")
    return inputs


def default_of(options: Json, choices: list | None) -> Any:
    return options.get("default", choices[0] if choices else NOTHING)


def inputs_of_option(options: Json, chosen: Any) -> Json:
    """What a combo that brings inputs of its own brings with the option that is chosen."""
    return next((option["inputs"] for option in options["options"] if option["key"] == chosen), {})


def wrap(value: Any) -> Any:
    """Lists mean links in the API form, so a list that is a value travels in an object."""
    return {"__value__": value} if isinstance(value, list) else value


def resolve(
    link: int | None, kind: str, nodes: dict[str, Json], links: dict[int, Link]
) -> Link | Value | None:
    """Follows a link back through reroutes, primitives and bypassed nodes to what delivers the data."""
    seen: set[int] = set()
    while link is not None:
        if link in seen:
            raise ValueError(f"Link {link} of this workflow runs in a circle.")
        seen.add(link)
        if link not in links:
            raise ValueError(f"Link {link} of this workflow starts nowhere; save it again in the browser.")
        origin = links[link]
        node = nodes[str(origin.node)]
        if node.get("mode", 0) == BYPASSED:
            link = bypassing_link(node, origin.slot, kind)
        elif node["type"] == "PrimitiveNode":
            return Value(node["widgets_values"][0])
        elif node["type"] == "Reroute":
            link = node["inputs"][0].get("link")
        else:
            return origin
    return None


def bypassing_link(node: Json, slot: int, kind: str) -> int | None:
    """The link that a bypassed node passes on: the same slot if its type fits, else the first that does."""
    inputs = node.get("inputs", [])
    if kind == "*":
        return inputs[slot if slot < len(inputs) else 0].get("link") if inputs else None
    preferred = inputs[slot : slot + 1] + inputs
    return next((i.get("link") for i in preferred if i["type"] == kind), None)
