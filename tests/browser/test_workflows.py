"""Every bundled workflow in the real frontend: listed, opened by a click, complete, sent as meant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pytest
from PIL import Image
from running_comfy import RunningComfy

from comfyui_runner.installation import ROOT
from comfyui_runner.workflow_api import inputs_taken, to_api

from .boxes import overlap, require_apart, require_grouped
from .frontend import Frontend, known_inputs

LISTED = sorted((ROOT / "workflows").glob("*.json"))
# Those for real models ask for files that are not here.
WORKFLOWS = [file for file in LISTED if file.stem.endswith(", no download")]
CONTROL = "control_after_generate"
Json = dict[str, Any]


@dataclass(frozen=True)
class Opened:
    """A workflow file and what the page showed of it."""

    saved: Json
    complaints: list[str]
    dialogs: list[str]
    nodes: dict[int, Json]
    groups: list[list[float]]
    text_cut_off: list[float]
    sent: Json


@pytest.fixture(scope="module", params=WORKFLOWS, ids=lambda file: file.stem)
def opened(request: pytest.FixtureRequest, frontend: Frontend) -> Opened:
    with frontend.watched() as complaints:
        frontend.open_template(request.param.stem)
        return Opened(
            json.loads(request.param.read_text(encoding="utf-8")),
            complaints,
            frontend.dialogs(),
            {node["id"]: node for node in frontend.nodes()},
            frontend.groups(),
            frontend.text_cut_off(),
            frontend.prompt(),
        )


def test_the_template_browser_lists_them_under_the_packs_name_with_their_thumbnails(frontend: Frontend):
    with frontend.watched() as complaints:
        dialog = frontend.browse_templates()
        for file in LISTED:
            card = frontend.card(dialog, file.stem)
            card.scroll_into_view_if_needed()  # pictures further down are not loaded before
            # A name of several words stands there twice: as title, and for want of a description.
            card.get_by_text(file.stem, exact=True).first.wait_for()
            picture = card.get_by_role("img").first
            picture.scroll_into_view_if_needed()
            frontend.page.wait_for_function("(img) => img.naturalWidth > 0", arg=picture.element_handle())
            with Image.open(file.with_suffix(".jpg")) as thumbnail:
                shown = picture.evaluate("(img) => [img.naturalWidth, img.naturalHeight]")
                assert tuple(shown) == thumbnail.size
        assert dialog.locator("[data-testid^='template-workflow-']").count() == len(LISTED)

        frontend.card(dialog, "01 Quickstart, no download").click()
        dialog.wait_for(state="detached")
    assert {"S2FlowUpsample", "S2FlowHighResSampler"} <= {node["type"] for node in frontend.nodes()}
    assert complaints == []


def test_it_opens_without_a_complaint(opened: Opened):
    assert opened.dialogs == []
    assert opened.complaints == []


def test_every_node_is_there(opened: Opened):
    assert {key: node["type"] for key, node in opened.nodes.items()} == {
        node["id"]: node["type"] for node in opened.saved["nodes"]
    }
    assert [node["type"] for node in opened.nodes.values() if not node["known"] or node["marked"]] == []


def test_every_widget_shows_the_value_that_the_file_holds(opened: Opened, comfyui_server: RunningComfy):
    for saved in opened.saved["nodes"]:
        widgets = opened.nodes[saved["id"]]["widgets"]
        definition = comfyui_server.object_info.get(saved["type"])
        if definition is not None:
            # The frontend adds widgets of its own that show results.
            given = {widget["name"]: widget["value"] for widget in widgets}
            named = set(names_of_widgets(definition, given))
            widgets = [widget for widget in widgets if widget["name"] in named]
        # One value for each widget: after a new input all values behind it belong to the wrong ones.
        values, kept = [widget["value"] for widget in widgets], saved.get("widgets_values") or []
        assert values[: len(kept)] == kept, saved["type"]
        # Core's own nodes get further inputs with time, at their end; the files know all of ours.
        assert len(values) == len(kept) or not is_ours(definition), saved["type"]
        for widget in widgets:
            assert is_possible(widget), (saved["type"], widget)


def names_of_widgets(definition: Json, given: Json) -> Iterator[str]:
    """Of the inputs, and of what the frontend puts behind a seed; later versions may name that themselves."""
    yield CONTROL
    for name, (_, *rest) in inputs_taken(definition, given):
        yield name
        control = (rest[0] if rest else {}).get(CONTROL)
        if isinstance(control, str):
            yield control


def is_ours(definition: Json | None) -> bool:
    return definition is not None and definition["python_module"].startswith("custom_nodes.")


def is_possible(widget: Json) -> bool:
    """Whether a value is one that its widget can hold and shows unrounded."""
    value = widget["value"]
    if widget["type"] in ("number", "slider", "knob"):
        low, high = widget.get("min"), widget.get("max")
        in_range = (low is None or low <= value) and (high is None or value <= high)
        # A widget that a link feeds shows nothing.
        unrounded = not widget["shown"] or float(widget["shown"]) == value
        return not isinstance(value, bool) and in_range and unrounded
    if widget["type"] == "toggle":
        return isinstance(value, bool)
    return not widget.get("choices") or value in widget["choices"]


def test_the_frontend_sends_what_the_demo_sends(opened: Opened, comfyui_server: RunningComfy):
    sent = known_inputs(opened.sent, comfyui_server.object_info)
    expected = to_api(opened.saved, comfyui_server.object_info)
    assert sent.keys() == expected.keys()
    for key, node in expected.items():
        assert sent[key] == node


def test_nodes_have_room_and_lie_apart(opened: Opened):
    for saved in opened.saved["nodes"]:
        *place, height = opened.nodes[saved["id"]]["box"]
        assert place == [*saved["pos"], saved["size"][0]], f"{saved['type']} moved"
        # Later versions keep no room for a video that is still to come.
        assert height <= saved["size"][1], f"{saved['type']} grew"
    require_apart(opened.nodes.values())
    assert opened.text_cut_off == [0] * len(opened.text_cut_off)


def test_groups_hold_their_nodes_whole_and_hide_no_note(opened: Opened):
    assert not any(overlap(one, other) for one, other in combinations(opened.groups, 2))
    require_grouped(opened.nodes.values(), opened.groups)
