"""A manifest: what it means, and a sentence for everything that is wrong with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from farm.manifest import read_manifest
from farm.refusal import Refusal

HEAD = "workflow: beach.json\nstore: out\ncomfyui: ui\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a workflow, a CSV file and a ComfyUI."""
    (tmp_path / "beach.json").write_text("{}")
    (tmp_path / "clips.csv").write_text("a.b\n1\n")
    (tmp_path / "ui" / "models").mkdir(parents=True)
    (tmp_path / "ui" / "main.py").write_text("")
    return tmp_path


def written(place: Path, text: str) -> Path:
    file = place / "jobs.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_paths_start_at_the_manifest(place):
    text = HEAD + "rows: clips.csv\nmodels: ui/models\nargs: --fast --lowvram\ntable: {a.b: 1..3}\n"
    manifest = read_manifest(written(place, text))
    assert (manifest.workflow, manifest.store) == (place / "beach.json", place / "out")
    assert (manifest.comfyui, manifest.python) == (place / "ui", Path(sys.executable))
    assert (manifest.rows, manifest.models) == (place / "clips.csv", place / "ui" / "models")
    assert manifest.arguments == ("--fast", "--lowvram")
    assert manifest.table == {"a.b": "1..3"} and manifest.gpus_per_clip == 1


@pytest.mark.parametrize("given", [0, 0.5, 1, 2])
def test_gpus_per_clip(place, given):
    assert read_manifest(written(place, HEAD + f"gpus_per_clip: {given}\n")).gpus_per_clip == given


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("- a\n", "is empty"),
        ("store: [\n", "is no YAML"),
        (HEAD + "tabel: {}\n", "'tabel' is unknown; the nearest is 'table'"),
        ("store: out\n", "names no workflow"),
        ("workflow: beach.json\n", "names no store"),
        ("workflow: beech.json\nstore: out\n", "beech.json does not exist; the nearest is 'beach.json'"),
        (HEAD.replace("comfyui: ui", "comfyui: ."), "is no ComfyUI: it holds no main.py"),
        (HEAD + "rows: more.csv\n", "rows .* does not exist"),
        (HEAD + "models: nowhere\n", "models .* is no folder"),
        (HEAD + "python: nowhere\n", "python .* does not exist"),
        (HEAD + "table: [1]\n", "table is a list of lines"),
        (HEAD + "table: {a.b: 1, a.b: 2}\n", "'a.b' stands twice"),
        (HEAD + "store: other\n", "'store' stands twice"),
        (HEAD + "gpus_per_clip: 1.5\n", "gpus_per_clip is 1.5"),
        (HEAD + "gpus_per_clip: many\n", "gpus_per_clip is 'many'"),
        (HEAD + "args: {a: 1}\n", "args are ComfyUI's options"),
        (HEAD + "inputs: 3\n", "inputs is the path of a file or folder, not 3"),
    ],
)
def test_a_wrong_manifest_is_told_in_a_sentence(place, text: str, said: str):
    with pytest.raises(Refusal, match=said):
        read_manifest(written(place, text))


def test_a_missing_manifest_is_told(tmp_path):
    with pytest.raises(Refusal, match="cannot be read: No such file"):
        read_manifest(tmp_path / "none.yaml")


def test_another_encoding_is_told(tmp_path):
    file = tmp_path / "jobs.yaml"
    file.write_bytes(b"store: M\xf6we\n")
    with pytest.raises(Refusal, match="Save it as UTF-8"):
        read_manifest(file)
