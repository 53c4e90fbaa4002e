"""A node of a workflow, with its links and the values of its widgets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from comfyui_runner.workflow_api import DYNAMIC_COMBO, WIDGET_TYPES, inputs_taken

Json = dict[str, Any]


@dataclass(frozen=True)
class Output:
    """Where a link starts."""

    node: int
    slot: int
    kind: str


@dataclass
class Node:
    """kind: its class. links: input -> output. values: of its widgets, in order."""

    number: int
    kind: str
    definition: Json
    title: str | None
    links: dict[str, Output]
    values: list[Any]
    models: list[Json] = field(default_factory=list)
    box: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0, 0.0])  # x, y, width, height

    def out(self, name: str | int = 0) -> Output:
        """An output by its place or its name."""
        slot = name if isinstance(name, int) else self.definition["output_name"].index(name)
        return Output(self.number, slot, kind_of(self.definition["output"][slot]))

    def sockets(self) -> list[tuple[str, str]]:
        """(name, type) of the inputs that are no widgets."""
        taken = inputs_taken(self.definition, {})
        return [(name, kind_of(kind)) for name, (kind, *rest) in taken if not is_widget(kind, options(rest))]


def linked_widgets(node: Node) -> list[str]:
    sockets = dict(node.sockets())
    return [name for name in node.links if name not in sockets]


def slot_of(node: Node, name: str) -> int:
    """Where a link ends: sockets first, then the widgets that are fed by links."""
    return [*(socket for socket, _ in node.sockets()), *linked_widgets(node)].index(name)


def kind_of(kind: Any) -> str:
    return "COMBO" if isinstance(kind, list) else kind


def options(rest: list[Any]) -> Json:
    return rest[0] if rest else {}


def is_widget(kind: Any, more: Json) -> bool:
    shown = more.get("widgetType") or kind_of(kind)
    return shown in {*WIDGET_TYPES, DYNAMIC_COMBO} and not more.get("forceInput")
