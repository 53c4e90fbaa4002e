"""Every node explains itself: help page, tooltips, search words; and saved graphs keep their widgets."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from pack_nodes import definitions, tooltips, widgets

from comfyui_runner.installation import ROOT

SAVED_WIDGETS = json.loads((Path(__file__).parent / "saved_widgets.json").read_text(encoding="utf-8"))
FEWEST_SIGNS = 12
CHINESE = json.loads((Path(__file__).parent / "chinese_pages.json").read_text(encoding="utf-8"))
HEADS = {"input", "output", "fault", "mode", "derivative", *CHINESE["heads"]}
# What an artist types who has never heard of the pack.
SEARCHES = [
    "upscale",
    "4k",
    "hires fix",
    "super resolution",
    "sparse attention",
    "faster",
    "wan",
    "hunyuan",
    "two-pass",
]


@pytest.fixture(scope="module")
def described(comfy_modules):
    return definitions(comfy_modules)


def test_every_input_and_output_has_a_tooltip(described, capsys):
    said = {(node, name): text for node, d in described.items() for name, text in tooltips(d)}
    without = [place for place, text in said.items() if len(text) < FEWEST_SIGNS]
    with capsys.disabled():
        share = 100 * (1 - len(without) / len(said))
        print(f"\n{len(described)} nodes, {len(said)} inputs and outputs, {share:.0f} % with a tooltip")
    assert without == []


def test_every_node_has_a_help_page_and_a_description(described):
    for node, definition in described.items():
        page = (ROOT / "web" / "docs" / f"{node}.md").read_text(encoding="utf-8").splitlines()
        assert page[0].startswith("# S²Flow "), node
        assert page[2].startswith("**What should I set?** "), node
        assert definition["description"].endswith("."), node
        assert definition["category"].startswith("S²Flow"), node
        assert definition["display_name"].startswith("S²Flow "), node


def test_every_node_has_its_row_in_the_list_of_nodes(described):
    """Nodes of a kind share a row, and the pack's name is said once."""
    rows = [
        line.split("|")[1] for line in (ROOT / "docs" / "nodes.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]  # fmt: skip
    named = {name.removeprefix("S²Flow ") for row in rows for name in re.findall(r"\*\*(.+?)\*\*", row)}
    assert {definition["display_name"].removeprefix("S²Flow ") for definition in described.values()} <= named


def test_every_help_page_stands_there_in_chinese_too(described):
    """ComfyUI asks for NAME/zh.md before NAME.md. Both describe the same inputs, in the same order."""
    names = json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
    for node in described:
        english = (ROOT / "web" / "docs" / f"{node}.md").read_text(encoding="utf-8")
        chinese = (ROOT / "web" / "docs" / node / "zh.md").read_text(encoding="utf-8")
        lines = chinese.splitlines()
        assert lines[0] == f"# {names[node]['display_name']}", node
        assert lines[2].startswith(CHINESE["question"]), node
        assert first_cells(chinese) == first_cells(english), node
        assert english.count("\n\n") == chinese.count("\n\n"), node


def first_cells(page: str) -> list[str]:
    """Of the rows of a page's tables, without their heads."""
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    return [row.split("|")[1].strip() for row in rows if row.split("|")[1].strip() not in HEADS]


def test_widgets_are_only_appended(described):
    """Saved graphs hold values by position, so a widget in the middle gives all behind it wrong values."""
    assert described.keys() == SAVED_WIDGETS.keys()
    for node, saved in SAVED_WIDGETS.items():
        now = widgets(described[node])
        assert now[: len(saved)] == saved, f"{node}: graphs that artists saved hold {saved} in this order"
        assert now == saved, f"{node}: append {now[len(saved) :]} to saved_widgets.json"


def test_search_words_find_the_nodes(comfy_modules, described):
    """ComfyUI 0.3.75 has no search words; it finds a node by its name alone."""
    from comfy_api.latest import io

    if "search_aliases" not in {field.name for field in fields(io.Schema)}:
        assert comfy_modules.pack("nodes.host.found_by").found_by("upscale", essential=True) == {}
        return
    words = {node: set(definition["search_aliases"]) for node, definition in described.items()}
    for search in SEARCHES:
        assert [node for node, known in words.items() if search in known], search
    essential = {node for node, definition in described.items() if definition.get("essentials_category")}
    assert essential == {
        "S2FlowLowResSampler",
        "S2FlowUpsample",
        "S2FlowWindowMask",
        "S2FlowHighResSampler",
        "S2FlowCompare",
    }
