"""Workflow files: what is taken as it is, what is translated, and what is told of the rest."""

from __future__ import annotations

import re
from typing import Any

import pytest

from farm.refusal import Refusal
from farm.workflow import prompt_of, unknown_nodes


def test_a_workflow_is_translated_once_for_each_version(tmp_path):
    file = tmp_path / "saved.json"
    file.write_text('{"nodes": [{"id": 1, "type": "Seed", "widgets_values": [7]}], "links": []}')
    asked = []

    def object_info() -> dict[str, Any]:
        asked.append(1)
        return {"Seed": {"input": {"required": {"value": ["INT", {}]}}, "display_name": "Seed"}}

    first, second = (prompt_of(file, tmp_path / "kept", "0.33", object_info) for _ in range(2))
    assert first == second and first["1"]["inputs"] == {"value": 7} and len(asked) == 1
    for version in ("0.34", "0.34", "0.33"):
        prompt_of(file, tmp_path / "kept", version, object_info)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON"),
        ("{}", "is no workflow"),
        ("[]", "is no workflow"),
        ('{"nodes": [{"id": 1, "type": "Sead"}], "links": []}', "no node 'Sead'.* custom_nodes: "),
    ],
)
def test_a_file_that_is_no_workflow_is_told(tmp_path, text: str, said: str):
    file = tmp_path / "saved.json"
    file.write_text(text)
    with pytest.raises(Refusal, match=said):
        prompt_of(file, tmp_path / "kept", "0.33", lambda: {})


def test_a_prompt_in_api_form_is_taken_as_it_is(tmp_path):
    file = tmp_path / "api.json"
    file.write_text('{"1": {"class_type": "A", "inputs": {}}}')
    assert prompt_of(file, tmp_path / "kept", "0.33", lambda: pytest.fail("asked")) == {
        "1": {"class_type": "A", "inputs": {}}
    }


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"A", "B"}, ""),
        ({"A"}, "has no node B. If another pack has it, name .* custom_nodes: "),
        (set(), "has no node A or B"),
    ],
)
def test_nodes_that_a_comfyui_lacks_are_told_with_the_key(known: set[str], said: str):
    prompt = {str(number): {"class_type": kind, "inputs": {}} for number, kind in enumerate("ABA")}
    assert re.search(said or "^$", unknown_nodes(prompt, dict.fromkeys(known)))
