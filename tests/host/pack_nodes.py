"""The pack's nodes as ComfyUI describes them to the browser, for the tests of what they say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from comfyui_runner.workflow_api import WIDGET_TYPES, definition_inputs

Json = dict[str, Any]


def definitions(comfy_modules: Any) -> dict[str, Json]:
    """What GET /object_info says of every node of the pack, by its id."""
    mappings = comfy_modules.nodes.NODE_CLASS_MAPPINGS
    return {
        name: node.GET_NODE_INFO_V1()
        for name, node in mappings.items()
        if node.__module__.startswith(comfy_modules.pack_name)
    }


def widgets(definition: Json) -> list[str]:
    """The inputs that become widgets, in the order in which their values are saved."""
    return [name for name, spec in definition_inputs(definition) if is_widget(*spec)]


def is_widget(kind: Any, options: Json | None = None) -> bool:
    return (isinstance(kind, list) or kind in WIDGET_TYPES) and not (options or {}).get("forceInput")


def tooltips(definition: Json) -> Iterator[tuple[str, str]]:
    """(name, tooltip) of every input and output; "" where there is none."""
    for name, (_, *rest) in definition_inputs(definition):
        yield name, (rest[0] if rest else {}).get("tooltip") or ""
    said = definition.get("output_tooltips") or []
    for n, name in enumerate(definition["output_name"]):
        yield f"output {name}", (said[n] if n < len(said) else "") or ""
