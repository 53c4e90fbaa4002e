"""The conversion of saved workflows, against hand-written graphs and definitions of /object_info."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_runner.workflow_api import to_api

FASTSTART = ["BOOLEAN", {"default": True}]
CODEC = [
    "COMFY_DYNAMICCOMBO_V3",
    {
        "options": [
            {"key": "auto", "inputs": {}},
            {
                "key": "h264",
                "inputs": {"required": {"crf": ["FLOAT", {"default": 23.0}], "range": [["tv", "pc"]]}},
            },
        ]
    },
]
OBJECT_INFO: dict[str, Any] = {
    "Load": {
        "input": {"required": {"name": [["a.safetensors", "b.safetensors"]]}},
        "display_name": "Load Model",
    },
    "Sample": {
        "input": {
            "required": {
                "model": ["MODEL"],
                "seed": ["INT", {"default": 0}],
                "steps": ["INT", {"default": 20}],
                "kind": ["COMBO", {"options": ["euler", "heun"], "control_after_generate": True}],
                "size": ["INT", {"forceInput": True}],
            },
            "optional": {"strength": ["FLOAT", {"default": 0.5}], "extra": ["MODEL"]},
        },
        "input_order": {
            "required": ["model", "seed", "steps", "kind", "size"],
            "optional": ["strength", "extra"],
        },
        "display_name": "Sampler",
    },
    "Save": {
        "input": {
            "required": {
                "video": ["VIDEO"],
                "prefix": ["STRING", {"default": "out"}],
                "format": [
                    "COMFY_DYNAMICCOMBO_V3",
                    {
                        "options": [
                            {"key": "auto", "inputs": {}},
                            {"key": "mp4", "inputs": {"required": {"codec": CODEC, "faststart": FASTSTART}}},
                        ]
                    },
                ],
            },
            "optional": {"comment": ["STRING", {"default": ""}]},
        },
        "input_order": {"required": ["video", "prefix", "format"], "optional": ["comment"]},
        "display_name": "Save Video",
    },
    "Change": {"input": {"required": {"image": ["IMAGE"], "model": ["MODEL"]}}, "display_name": "Change"},
}


def node(
    key: int, kind: str, inputs: list | None = None, values: Any = None, mode: int = 0
) -> dict[str, Any]:
    slots = [{"name": name, "type": slot_type, "link": link} for name, slot_type, link in inputs or []]
    return {"id": key, "type": kind, "inputs": slots, "widgets_values": values, "mode": mode}


def sample(link: int | None, values: list | None = None) -> dict[str, Any]:
    values = [5, "randomize", 30, "heun", "fixed", "", 0.9] if values is None else values
    return node(9, "Sample", [("model", "MODEL", link)], values)


def graph(nodes: list[dict], links: list) -> dict[str, Any]:
    return {"nodes": nodes, "links": links}


def inputs_of_sampler(nodes: list[dict], links: list) -> dict[str, Any]:
    return to_api(graph(nodes, links), OBJECT_INFO)["9"]["inputs"]


def test_values_are_given_to_their_widgets_and_the_control_values_are_skipped():
    prompt = to_api(
        graph([node(1, "Load", values=["b.safetensors"]), sample(4)], [[4, 1, 0, 9, 0, "MODEL"]]), OBJECT_INFO
    )
    assert prompt["1"] == {
        "class_type": "Load",
        "inputs": {"name": "b.safetensors"},
        "_meta": {"title": "Load Model"},
    }
    assert prompt["9"]["inputs"] == {
        "model": ["1", 0],
        "seed": 5,
        "steps": 30,
        "kind": "heun",
        "strength": 0.9,
    }


def test_links_may_be_objects():
    link = {"id": 4, "origin_id": 1, "origin_slot": 2, "target_id": 9, "target_slot": 0, "type": "MODEL"}
    assert inputs_of_sampler([node(1, "Load", values=["a.safetensors"]), sample(4)], [link])["model"] == [
        "1",
        2,
    ]


@given(st.integers(0, 7))
def test_values_that_were_not_saved_take_their_defaults(count: int):
    saved = [5, "randomize", 30, "heun", "fixed", "", 0.9]
    inputs = inputs_of_sampler([sample(None, saved[:count])], [])
    expected = {"seed": (0, 5), "steps": (20, 30), "kind": ("euler", "heun"), "strength": (0.5, 0.9)}
    for position, (name, (default, value)) in zip((0, 2, 3, 6), expected.items(), strict=True):
        assert inputs[name] == (value if count > position else default)


def test_a_socket_that_takes_the_place_of_a_widget_wins_over_its_value():
    sampler = sample(None)
    sampler["inputs"] += [{"name": "steps", "type": "INT", "link": 3, "widget": {"name": "steps"}}]
    inputs = inputs_of_sampler([node(1, "Load", values=["a.safetensors"]), sampler], [[3, 1, 1, 9, 1, "INT"]])
    assert inputs["steps"] == ["1", 1]
    assert inputs["strength"] == 0.9


def test_a_primitive_gives_its_value_through_a_reroute():
    sampler = sample(None)
    sampler["inputs"] += [{"name": "steps", "type": "INT", "link": 3, "widget": {"name": "steps"}}]
    nodes = [node(1, "PrimitiveNode", values=[44, "fixed"]), node(2, "Reroute", [("", "*", 2)]), sampler]
    prompt = to_api(graph(nodes, [[2, 1, 0, 2, 0, "INT"], [3, 2, 0, 9, 1, "INT"]]), OBJECT_INFO)
    assert prompt["9"]["inputs"]["steps"] == 44
    assert prompt.keys() == {"9"}


def test_a_bypassed_node_passes_on_the_input_of_the_same_type():
    changed = node(2, "Change", [("image", "IMAGE", None), ("model", "MODEL", 1)], mode=4)
    nodes = [node(1, "Load", values=["a.safetensors"]), changed, sample(2)]
    prompt = to_api(graph(nodes, [[1, 1, 0, 2, 1, "MODEL"], [2, 2, 0, 9, 0, "MODEL"]]), OBJECT_INFO)
    assert prompt["9"]["inputs"]["model"] == ["1", 0]
    assert "2" not in prompt


def test_a_muted_node_takes_its_links_with_it():
    nodes = [node(1, "Load", values=["a.safetensors"], mode=2), sample(1)]
    assert "model" not in inputs_of_sampler(nodes, [[1, 1, 0, 9, 0, "MODEL"]])


def test_notes_are_left_out_and_lists_are_not_taken_for_links():
    prompt = to_api(
        graph([node(3, "MarkdownNote", values=["hello"]), sample(None, [[1, 2]])], []), OBJECT_INFO
    )
    assert prompt.keys() == {"9"}
    assert prompt["9"]["inputs"]["seed"] == {"__value__": [1, 2]}


def test_values_saved_by_name():
    by_name = {"seed": 3, "kind": "heun", "preview": "x"}
    assert inputs_of_sampler([sample(None) | {"widgets_values": by_name}], []) == {"seed": 3, "kind": "heun"}


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        ([], {"prefix": "out", "format": "auto", "comment": ""}),
        (["a", "auto", "why"], {"prefix": "a", "format": "auto", "comment": "why"}),
        (
            ["a", "mp4"],
            {"prefix": "a", "format": "mp4", "format.codec": "auto", "format.faststart": True, "comment": ""},
        ),
        (
            ["a", "mp4", "h264", 30.0, "pc", False, "why"],
            {
                "prefix": "a",
                "format": "mp4",
                "format.codec": "h264",
                "format.codec.crf": 30.0,
                "format.codec.range": "pc",
                "format.faststart": False,
                "comment": "why",
            },
        ),
        # What this ComfyUI does not offer is left to it to refuse.
        (["a", "flv", "why"], {"prefix": "a", "format": "flv", "comment": "why"}),
    ],
)
def test_a_combo_brings_the_inputs_of_its_chosen_option(saved, expected):
    workflow = graph([node(1, "Save", [("video", "VIDEO", None)], saved)], [])
    assert to_api(workflow, OBJECT_INFO)["1"]["inputs"] == expected


@pytest.mark.parametrize("format", ["auto", "mp4"])
def test_the_inputs_of_an_option_saved_by_name(format):
    saved = {
        "prefix": "a",
        "format": format,
        "format.codec": "h264",
        "format.codec.crf": 4.0,
        "format.size": 1,
    }
    expected = {"prefix": "a", "format": format}
    if format == "mp4":
        expected |= {"format.codec": "h264", "format.codec.crf": 4.0}
    assert to_api(graph([node(1, "Save", values=saved)], []), OBJECT_INFO)["1"]["inputs"] == expected


def test_a_link_may_take_the_place_of_an_option_s_widget():
    save = node(2, "Save", [("video", "VIDEO", None), ("format.codec.crf", "FLOAT", 5)], ["a", "mp4", "h264"])
    prompt = to_api(
        graph([node(1, "Load", values=["a.safetensors"]), save], [[5, 1, 3, 2, 1, "FLOAT"]]), OBJECT_INFO
    )
    assert prompt["2"]["inputs"]["format.codec.crf"] == ["1", 3]


@pytest.mark.parametrize(
    ("nodes", "links", "words"),
    [
        ([node(1, "Unheard")], [], "no node 'Unheard'"),
        ([sample(1), node(2, "Reroute", [("", "*", 1)])], [[1, 2, 0, 9, 0, "MODEL"]], "circle"),
        ([sample(7)], [], "Link 7 .* starts nowhere"),
    ],
)
def test_what_cannot_be_converted_is_said(nodes, links, words):
    with pytest.raises(ValueError, match=words):
        to_api(graph(nodes, links), OBJECT_INFO)


def test_subgraphs_are_refused():
    workflow = graph([node(1, "abc-def")], []) | {"definitions": {"subgraphs": [{"id": "abc-def"}]}}
    with pytest.raises(ValueError, match="subgraph"):
        to_api(workflow, OBJECT_INFO)
