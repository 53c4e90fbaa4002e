"""Which node of a prompt is the same as which: by what it is made from, never by its number."""

from __future__ import annotations

import copy

import pytest
from kept_chain import HIGH, LOW, SAVE, UPSAMPLE, WINDOWS, node, prompt_of


@pytest.fixture
def place(comfy_modules):
    return comfy_modules.pack("nodes.host.prompt_graph").Place


def renumbered(prompt):
    names = {old: f"{number}:7" for number, old in enumerate(reversed(list(prompt)))}
    moved = {}
    for old, one in copy.deepcopy(prompt).items():
        for name, value in one["inputs"].items():
            if isinstance(value, list):
                one["inputs"][name] = [names[value[0]], value[1]]
        moved[names[old]] = one
    return moved, names


def test_other_numbers_and_other_nodes_beside_it_change_nothing(place):
    prompt = prompt_of(2)
    moved, names = renumbered(prompt)
    moved["99"] = node("SaveVideo", video=[names[HIGH], 0])
    for number in prompt:
        assert place(prompt, number).digest() == place(moved, names[number]).digest()


@pytest.mark.parametrize(
    ("number", "name", "value", "changes"),
    [
        (LOW, "seed", 4, True),
        (UPSAMPLE, "t_i", 4, True),
        (WINDOWS, "s", 0.25, True),
        (UPSAMPLE, "trajectory", [LOW, 0], True),  # another output
        (LOW, "resume_every", 7, False),
        (HIGH, "backend", "dense", False),
    ],
)
def test_what_a_node_is_made_from_tells_it_apart(place, number, name, value, changes):
    prompt, other = prompt_of(2), prompt_of(2)
    other[number]["inputs"][name] = value
    assert (place(prompt, HIGH).digest() != place(other, HIGH).digest()) == changes
    # What comes after a node does not.
    assert (place(prompt, LOW).digest() != place(other, LOW).digest()) == (changes and number == LOW)


def test_ancestors_and_descendants(place):
    prompt = prompt_of(2)
    assert {one.node for one in place(prompt, HIGH).ancestors()} == {LOW, UPSAMPLE, WINDOWS}
    assert {one.node for one in place(prompt, LOW).descendants()} == {UPSAMPLE, WINDOWS, HIGH, SAVE}
    assert place(prompt, SAVE).descendants() == []


def test_a_circle_and_a_link_to_nowhere_do_not_hang(place):
    prompt = {"1": node("A", x=["2", 0]), "2": node("B", x=["1", 0], y=["gone", 0])}
    assert place(prompt, "1").digest() != place(prompt, "2").digest()
    assert {one.node for one in place(prompt, "1").ancestors()} == {"1", "2"}


def test_content_tells_values_apart_and_not_objects(comfy_modules):
    import torch

    digest = comfy_modules.pack("nodes.host.resume.content").digest_of_content
    a, b = torch.arange(6.0), torch.arange(6.0)
    assert digest(a, {"x": 1, "uuid": object()}) == digest(b, {"uuid": object(), "x": 1})
    different = [
        digest(value)
        for value in (a, a + 0, a.view(2, 3), a.half(), 1, 1.0, True, "1", None, [1], [[1]], {"x": 1}, [])
    ]
    assert len(set(different)) == len(different) - 1  # a and a + 0
    bfloat = torch.tensor([1.0, 2.0], dtype=torch.bfloat16)
    assert digest(bfloat) != digest(bfloat * 2)
