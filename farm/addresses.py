"""Finds the input of a node that a manifest names, as "title.input" or "#id.input"."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .refusal import Refusal, nearest

Json = dict[str, Any]
PREFIX = "filename_prefix"  # where a node saves; the farm finds results by it


@dataclass(frozen=True)
class Address:
    """One input of one node. text: as the manifest wrote it."""

    node: str
    input: str
    text: str


def find_address(text: str, prompt: Json) -> Address:
    """The input that `text` names in a prompt in API form.

    Titles and inputs may hold dots themselves. Raises Refusal for an unknown node or input, with the nearest
    name, for a title that several nodes have, and for an input that takes its value by a link.
    """
    readings = list(splits(text))
    if not readings:
        raise Refusal(f"'{text}' names no input. Write title.input, or #id.input, as in Positive.text.")
    for name, given in readings:
        nodes = nodes_named(name, prompt)
        if len(nodes) > 1:
            raise Refusal(
                f"'{text}' is ambiguous: {len(nodes)} nodes are titled '{name}'. Write "
                f"{' or '.join(f'#{node}.{given}' for node in nodes)}."
            )
        if nodes:
            return Address(nodes[0], require_input(nodes[0], given, prompt, text), text)
    name = readings[0][0]
    known = [f"#{key}" for key in prompt] if name.startswith("#") else list(titles(prompt).values())
    raise Refusal(f"'{text}': the workflow has no node '{name}'{nearest(name, known)}.")


def splits(text: str) -> Iterator[tuple[str, str]]:
    """Every way to read a text as (node, input), the longest node first."""
    parts = text.split(".")
    for place in range(len(parts) - 1, 0, -1):
        node, given = ".".join(parts[:place]).strip(), ".".join(parts[place:]).strip()
        if node and given:
            yield node, given


def titles(prompt: Json) -> dict[str, str]:
    """Node id to its title, or its class where it has none."""
    return {key: node.get("_meta", {}).get("title") or node["class_type"] for key, node in prompt.items()}


def nodes_named(name: str, prompt: Json) -> list[str]:
    """Ids of the nodes with this "#id" or title; with this class where no title fits."""
    if name.startswith("#"):
        return [name[1:]] if name[1:] in prompt else []
    titled = [key for key, title in titles(prompt).items() if title == name]
    return titled or [key for key, node in prompt.items() if node["class_type"] == name]


def require_input(node: str, given: str, prompt: Json, text: str) -> str:
    """The input's name; raises Refusal unless the node has it and holds a value there."""
    inputs, title = prompt[node]["inputs"], titles(prompt)[node]
    if given not in inputs:
        raise Refusal(f"'{text}': node #{node} ({title}) has no input '{given}'{nearest(given, inputs)}.")
    if is_link(inputs[given]):
        source = inputs[given][0]
        raise Refusal(
            f"'{text}': {given} of #{node} ({title}) comes by a link from #{source} "
            f"({titles(prompt).get(source, 'a node that is missing')}). Name an input of that node."
        )
    return given


def is_link(value: Any) -> bool:
    """Whether an input takes the output of another node: [id, slot]."""
    return isinstance(value, list)
