"""Where nodes stand: frames side by side, nodes below each other, with room for what they show."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from templates.node import Node

WIDTH, NARROW, BESIDE, BELOW = 340, 300, 40, 64
TITLE, MARGIN = 30, 20
ROW, WIDGET, PADDING = 20, 24, 16
# What a node shows below its widgets, in pixels: texts that are written into it, pictures and videos.
SHOWN = {
    "CLIPTextEncode": 150,
    "MiniMaxH3ImageToVideo": 130,
    "PreviewAny": 190,
    "LoadImage": 300,
    "SaveVideo": 320,
    "S2FlowCompare": 340,
    "S2FlowWindowPictures": 240,
}
# Nodes 2.0 draws the pack's name into a node, and what opens the widgets that are not shown.
PACKS_NAME, MORE_WIDGETS = 28, 40
HIDES_WIDGETS = frozenset({"WanContextWindowsManual"})
# Widgets that a node has in some version of ComfyUI, where another has fewer: bit_depth came with 0.33.
MOST_WIDGETS = {"CreateVideo": 2}
# ComfyUI draws the live preview of a run under these.
LIVE_PREVIEW = 240
SAMPLERS = frozenset(
    {"S2FlowLowResSampler", "S2FlowHighResSampler", "S2FlowRefinerSampler", "SamplerCustomAdvanced"}
)
SCREEN = (1800, 940)
NOTE_WIDTH, SIGNS_IN_LINE, LINE = 640, 78, 24
ADDRESS = re.compile(r"\(http[^)]*\)")  # of a link, which the note does not show


@dataclass
class Note:
    """A text that stands outside the frames. box: x, y, width, height."""

    text: str
    box: list[float]

    def written(self) -> dict[str, Any]:
        return {
            "type": "MarkdownNote",
            "pos": self.box[:2],
            "size": self.box[2:],
            "flags": {},
            "mode": 0,
            "inputs": [],
            "outputs": [],
            "title": "Read me",
            "properties": {},
            "widgets_values": [self.text],
            "color": "#432",
            "bgcolor": "#653",
        }


@dataclass
class Group:
    """A frame with its columns of nodes."""

    title: str
    color: str
    columns: list[list[Node]]
    narrow: bool = False
    box: list[float] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def written(self, number: int) -> dict[str, Any]:
        return {
            "id": number,
            "title": self.title,
            "bounding": self.box,
            "color": self.color,
            "font_size": 24,
            "flags": {},
        }


def height_of(node: Node) -> float:
    """What a node needs before it runs, a video or text that it will show included."""
    linked = sum(name not in dict(node.sockets()) for name in node.links)
    rows = max(len(node.sockets()) + linked, len(node.definition["output"]))
    drawn = PACKS_NAME * node.kind.startswith("S2Flow") + MORE_WIDGETS * (node.kind in HIDES_WIDGETS)
    widgets = max(len(node.values), MOST_WIDGETS.get(node.kind, 0))
    return rows * ROW + widgets * WIDGET + PADDING + drawn + SHOWN.get(node.kind, 0)


def place(groups: list[Group], notes: list[str]) -> None:
    """Gives every node, frame and note its box."""
    left = 0.0
    for group in groups:
        width = NARROW if group.narrow else WIDTH
        start, bottom = left, 0.0
        for column in group.columns:
            y = 80.0
            for node in column:
                node.box = [left, y, float(width), float(height_of(node))]
                y += node.box[3] + (LIVE_PREVIEW if node.kind in SAMPLERS else 0) + BELOW
            bottom = max(bottom, y - BELOW)
            left += width + BESIDE
        right = left - BESIDE
        group.box = [start - MARGIN, 0.0, right - start + 2 * MARGIN, bottom + MARGIN]
        left += MARGIN
    below = max(group.box[3] for group in groups if group.box[0] < NOTE_WIDTH) + BELOW
    for n, text in enumerate(notes):
        lines = sum(1 + len(ADDRESS.sub("", line)) // SIGNS_IN_LINE for line in text.splitlines())
        box = [n * float(NOTE_WIDTH + BESIDE), below, float(NOTE_WIDTH), float(60 + LINE * lines)]
        groups[0].notes.append(Note(text, box))


def saved_view(boxes: list[list[float]]) -> dict[str, Any]:
    """Scale and offset at which a screen shows every box (x, y, width, height)."""
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes) - TITLE
    right, bottom = max(box[0] + box[2] for box in boxes), max(box[1] + box[3] for box in boxes)
    width, height = right - left + 4 * MARGIN, bottom - top + 4 * MARGIN
    # Rounded down, so that nothing is cut off.
    scale = int(1000 * min(1.0, SCREEN[0] / width, SCREEN[1] / height)) / 1000
    return {"scale": scale, "offset": [2 * MARGIN - left, 2 * MARGIN - top]}
