"""Where the nodes of every bundled workflow stand: apart, in their frames, and all on the screen."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

import pytest

from comfyui_runner.installation import ROOT
from templates.layout import LIVE_PREVIEW, SAMPLERS, SCREEN, TITLE

Json = dict[str, Any]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))


def test_there_is_room_under_every_sampler_of_the_pack():
    kinds = {node["type"] for path in WORKFLOWS for node in json.loads(path.read_text("utf-8"))["nodes"]}
    assert {kind for kind in kinds if kind.startswith("S2Flow") and "Sampler" in kind} <= SAMPLERS
    assert len(WORKFLOWS) == 20


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_nothing_overlaps_with_previews_and_the_saved_view_shows_all(path):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    boxes = {node["id"]: with_preview(node) for node in workflow["nodes"]}
    for one, other in combinations(boxes, 2):
        assert not overlap(boxes[one], boxes[other]), (one, other)
    for node in workflow["nodes"]:
        around = [group for group in workflow["groups"] if overlap(group["bounding"], boxes[node["id"]])]
        assert len(around) == (node["type"] != "MarkdownNote"), node["type"]
    view = workflow["extra"]["ds"]
    for x, y, width, height in boxes.values():
        left, top = (start + offset for start, offset in zip((x, y), view["offset"]))
        assert left >= 0 and top >= 0
        assert (left + width) * view["scale"] <= SCREEN[0] + 1
        assert (top + height) * view["scale"] <= SCREEN[1] + 1


def with_preview(node: Json) -> tuple[float, float, float, float]:
    shown = LIVE_PREVIEW if node["type"] in SAMPLERS else 0
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, width, height + TITLE + shown


def overlap(one: Any, other: Any) -> bool:
    return all(
        one[axis] < other[axis] + other[axis + 2] and other[axis] < one[axis] + one[axis + 2]
        for axis in (0, 1)
    )
