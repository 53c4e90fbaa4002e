"""Where nodes and groups lie on the canvas: as x, y, width and height."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

TITLE_BAR = 30
Box = Sequence[float]  # x, y, width, height


def with_title(node: dict[str, Any]) -> Box:
    x, y, width, height = node["box"]
    return x, y - TITLE_BAR, width, height + TITLE_BAR


def overlap(one: Box, other: Box) -> bool:
    return all(
        one[axis] < other[axis] + other[axis + 2] and other[axis] < one[axis] + one[axis + 2]
        for axis in (0, 1)
    )


def holds(outer: Box, inner: Box) -> bool:
    return all(
        outer[axis] <= inner[axis] and inner[axis] + inner[axis + 2] <= outer[axis] + outer[axis + 2]
        for axis in (0, 1)
    )


def require_apart(nodes: Iterable[dict[str, Any]]) -> None:
    """Fails where a node lies on another."""
    for one, other in combinations(nodes, 2):
        assert not overlap(with_title(one), with_title(other)), (one["type"], other["type"])


def require_grouped(nodes: Iterable[dict[str, Any]], groups: Sequence[Box]) -> None:
    """Fails unless each node lies whole in one group, and each note in none."""
    for node in nodes:
        box = with_title(node)
        touched = [group for group in groups if overlap(group, box)]
        if node["type"] == "MarkdownNote":
            assert touched == []
        else:
            assert len(touched) == 1, node["type"]
            assert holds(touched[0], box), node["type"]
