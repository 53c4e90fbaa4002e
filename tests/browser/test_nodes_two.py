"""Nodes 2.0, where nodes are elements of the page: none lies on another, before and after a run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import pytest
from running_comfy import RunningComfy

from comfyui_runner.installation import ROOT

from .boxes import Box, overlap
from .frontend import Frontend

SETTING = "Comfy.VueNodes.Enabled"
# By what differs in them: image to video with two experts, another family, core's node of many widgets.
OF_REAL_MODELS = ("14 ", "19 ", "21 ")
FILES = [
    file.stem
    for file in sorted((ROOT / "workflows").glob("*.json"))
    if file.stem.endswith(", no download") or file.stem.startswith(OF_REAL_MODELS)
]
SECONDS_TO_RUN = 400
# Title included, in the canvas' coordinates.
DRAWN = """() => [...document.querySelectorAll('[data-node-id]')].map((element) => {
    const { scale, offset } = window.app.canvas.ds, { x, y, width, height } = element.getBoundingClientRect();
    return [window.app.graph.getNodeById(Number(element.dataset.nodeId)).title,
            [x / scale - offset[0], y / scale - offset[1], width / scale, height / scale]];
})"""
BOTH_VIDEOS = (
    "() => [...document.querySelectorAll('[data-node-id] video')].filter((v) => v.videoWidth).length >= 2"
)
ROUNDING = 1.0  # pixels
AT_REST = 4  # equal readings in a row


@pytest.fixture(scope="module")
def two(frontend: Frontend) -> Iterator[Frontend]:
    if not frontend.page.evaluate("(name) => name in window.app.ui.settings.settingsLookup", SETTING):
        pytest.skip("this frontend has no Nodes 2.0")
    change = "([name, value]) => window.app.extensionManager.setting.set(name, value)"
    frontend.page.evaluate(change, [SETTING, True])
    # As an artist has it, from the start. What the frontend draws of the first graph after it began may be
    # displaced, and is right as soon as any graph is opened again.
    frontend.open()
    frontend.open_template(FILES[-1])
    drawn(frontend, len(frontend.nodes()))
    yield frontend
    frontend.page.evaluate(change, [SETTING, False])


def drawn(frontend: Frontend, nodes: int) -> list[tuple[str, Box]]:
    """What the page shows once it has come to rest: sizes follow what is inside, which arrives later.

    At rest are several equal readings: right after Nodes 2.0 are switched on, two may be of one pause.
    """
    readings: list[list[tuple[str, Box]]] = []
    while len(readings) < AT_REST or any(one != readings[-1] for one in readings[-AT_REST:]):
        now = frontend.page.evaluate(DRAWN)
        readings = [*readings, now] if len(now) == nodes else []
        frontend.page.wait_for_timeout(700)
    return readings[-1]


def on_each_other(nodes: list[tuple[str, Box]]) -> list[tuple[str, str]]:
    smaller = [(title, (x, y, w - ROUNDING, h - ROUNDING)) for title, (x, y, w, h) in nodes]
    return [(one[0], other[0]) for one, other in combinations(smaller, 2) if overlap(one[1], other[1])]


@pytest.mark.parametrize("name", FILES)
def test_no_node_lies_on_another(two: Frontend, name: str):
    two.open_template(name)
    two.close_dialogs()
    assert on_each_other(drawn(two, len(two.nodes()))) == []


def test_nor_after_a_run(two: Frontend, comfyui_server: RunningComfy):
    two.open_template("01 Quickstart, no download")
    for node_type, widget, value in (
        ("EmptyHunyuanLatentVideo", "length", 5),
        ("BasicScheduler", "steps", 2),
        ("S2FlowLowResSampler", "capture_rows", 16),
        ("S2FlowUpsample", "t_i", 1),
    ):
        two.set_widget(node_type, widget, value)
    two.command("Comfy.QueuePrompt")
    two.page.wait_for_function(BOTH_VIDEOS, timeout=SECONDS_TO_RUN * 1000)
    assert on_each_other(drawn(two, len(two.nodes()))) == []
