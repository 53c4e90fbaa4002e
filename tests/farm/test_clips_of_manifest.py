"""Tables and CSV files of overrides: what they make, and a sentence for everything that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from farm.clips import clips_of, fitting, values_of
from farm.manifest import Manifest
from farm.refusal import Refusal

PROMPT: dict[str, Any] = {
    "3": {
        "class_type": "CLIPTextEncode",
        "inputs": {"text": "x", "clip": ["1", 0]},
        "_meta": {"title": "Positive"},
    },
    "4": {
        "class_type": "CLIPTextEncode",
        "inputs": {"text": "y", "clip": ["1", 0]},
        "_meta": {"title": "Take v1.2"},
    },
    "5": {"class_type": "RandomNoise", "inputs": {"noise_seed": 1}},
    "6": {
        "class_type": "SaveVideo",
        "inputs": {"format.codec": "h264", "go": True},
        "_meta": {"title": "Save"},
    },
    "7": {"class_type": "PreviewAny", "inputs": {"source": ["3", 0]}, "_meta": {"title": "Look"}},
    "8": {"class_type": "PreviewAny", "inputs": {"source": ["3", 0]}, "_meta": {"title": "Look"}},
}


def manifest(table: dict[str, Any], rows: Path | None = None) -> Manifest:
    place = Path("jobs.yaml")
    return Manifest(place, place, place, place, place, table=table, rows=rows)


def csv(folder: Path, text: str) -> Path:
    file = folder / "clips.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_table_is_multiplied_out_in_order():
    clips = clips_of(manifest({"Positive.text": ["a", "b"], "#5.noise_seed": "1..3"}), PROMPT)
    made = [(c.prompt["3"]["inputs"]["text"], c.prompt["5"]["inputs"]["noise_seed"]) for c in clips]
    assert made == [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("b", 3)]
    assert clips[1].name == "text=a, noise_seed=2"
    assert PROMPT["3"]["inputs"]["text"] == "x", "the workflow itself stays as it is"


def test_rows_and_table_are_multiplied(tmp_path):
    file = csv(
        tmp_path, '\ufeffPositive.text,RandomNoise.noise_seed\n"a cat, grey",7\n\ndog,18446744073709551615\n'
    )
    clips = clips_of(manifest({"Save.go": [True, False]}, file), PROMPT)
    made = [
        (
            c.prompt["3"]["inputs"]["text"],
            c.prompt["5"]["inputs"]["noise_seed"],
            c.prompt["6"]["inputs"]["go"],
        )
        for c in clips
    ]
    assert made == [(t, s, g) for t, s in (("a cat, grey", 7), ("dog", 2**64 - 1)) for g in (True, False)]


@pytest.mark.parametrize(
    ("address", "node", "name"),
    [
        ("Positive.text", "3", "text"),
        ("#4.text", "4", "text"),
        ("Take v1.2.text", "4", "text"),
        ("Save.format.codec", "6", "format.codec"),
        ("#6.format.codec", "6", "format.codec"),
    ],
)
def test_dots_in_titles_and_inputs_are_understood(address: str, node: str, name: str):
    clip = clips_of(manifest({address: ["new"]}), PROMPT)[0]
    assert clip.prompt[node]["inputs"][name] == "new"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"Positiv.text": ["a"]}, "no node 'Positiv'; the nearest is 'Positive'"),
        ({"Positive.txt": ["a"]}, "has no input 'txt'; the nearest is 'text'"),
        ({"#55.noise_seed": [1]}, "no node '#55'; the nearest is '#5'"),
        ({"Look.source": ["a"]}, "'Look.source' is ambiguous: 2 nodes .* Write #7.source or #8.source"),
        ({"Positive.clip": ["a"]}, "comes by a link from #1"),
        ({"Positive": ["a"]}, "names no input. Write title.input"),
        ({"Positive.text": []}, "has no value in the table, so there is no clip"),
        ({"#5.noise_seed": "8..1"}, "8..1 holds nothing. Write 1..8"),
        ({"#5.noise_seed": "1..999999999999"}, "more than 100,000 clips"),
        (
            {"#5.noise_seed": list(range(400)), "Positive.text": ["a"] * 400},
            "160,000 clips; 100,000 are the most",
        ),
        ({"#5.noise_seed": ["many"]}, "is a number, not 'many'"),
        ({"#5.noise_seed": [True]}, "is a number, not True"),
        ({"#5.noise_seed": [float("nan")]}, "is a number"),
        ({"Save.go": ["maybe"]}, "is true or false, not 'maybe'"),
        ({"Positive.text": [True]}, "is a text; put true in quotes"),
        ({"Positive.text": [None]}, "is no value"),
        ({"Positive.text": [["a"]]}, "is no value"),
        ({"Positive.text": ["a"], "#3.text": ["b"]}, "'Positive.text' and '#3.text' are the same input"),
    ],
)
def test_a_wrong_table_is_told_in_a_sentence(table: dict[str, Any], said: str):
    with pytest.raises(Refusal, match=said):
        clips_of(manifest(table), PROMPT)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("Positive.text,#5.noise_seed\n", "headers and no row"),
        ("Positive.text,#5.noise_seed\na,1\nb\n", "row 2 has no column '#5.noise_seed'"),
        ("Positive.text\na grey, small cat\n", "row 1 has 2 cells for 1 headers.*in quotes"),
        ("Positive.text,\na,1\n", "column 2 has no header"),
        ("Positive.text,Positive.text\na,b\n", "'Positive.text' stands twice"),
        ("Positive.test\na\n", "the nearest is 'text'"),
        ("#5.noise_seed\nseven\n", "is a number, not 'seven'"),
        ("#5.noise_seed\n\n", "headers and no row"),
    ],
)
def test_a_wrong_csv_is_told_in_a_sentence(tmp_path, text: str, said: str):
    with pytest.raises(Refusal, match=said):
        clips_of(manifest({}, csv(tmp_path, text)), PROMPT)


def test_a_csv_that_is_no_utf8_is_told(tmp_path):
    file = tmp_path / "clips.csv"
    file.write_bytes("Positive.text\nMöwe\n".encode("latin-1"))
    with pytest.raises(Refusal, match="Save it as CSV in UTF-8"):
        clips_of(manifest({}, file), PROMPT)


def test_one_input_in_table_and_csv_is_told(tmp_path):
    with pytest.raises(Refusal, match="stands in the table and in clips"):
        clips_of(manifest({"Positive.text": ["a"]}, csv(tmp_path, "Positive.text\nb\n")), PROMPT)


@pytest.mark.parametrize(
    ("value", "present", "expected"),
    [("7", 1, 7), ("4.5", 4, 4.5), (3, 2.0, 3), ("TRUE", False, True), (5, "x", "5"), ("a", None, "a")],
)
def test_values_take_the_type_of_what_they_replace(value, present, expected):
    made = fitting(value, present, "a.b")
    assert made == expected and type(made) is type(expected)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("1..4", [1, 2, 3, 4]), ("-1..1", [-1, 0, 1]), ("a..b", ["a..b"]), (3, [3]), ("one", ["one"])],
)
def test_ranges_and_single_values(given, expected):
    assert values_of("a.b", given) == expected
