"""A manifest: what it means, and a sentence for everything that is wrong with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from farm.comfy_options import arguments_of
from farm.manifest import read_manifest
from farm.refusal import Refusal

HEAD = "workflow: beach.json\nstore: out\ncomfyui: ui\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a workflow, a CSV file and a ComfyUI."""
    (tmp_path / "beach.json").write_text("{}")
    (tmp_path / "clips.csv").write_text("a.b\n1\n")
    (tmp_path / "ui" / "models").mkdir(parents=True)
    (tmp_path / "ui" / "custom_nodes" / "ComfyUI-GGUF").mkdir(parents=True)
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
        (HEAD + "args: 3\n", "args are ComfyUI's options"),
        (HEAD + "args: '--fast \"a'\n", "args: No closing quotation. Close the quotes"),
        (HEAD + "custom_nodes: [ComfyUI-GUF]\n", "holds no 'ComfyUI-GUF'; the nearest is 'ComfyUI-GGUF'"),
        (HEAD + "custom_nodes: {a: 1}\n", "custom_nodes are names of folders"),
        (HEAD + "inputs: 3\n", "inputs is the path of a file or folder, not 3"),
    ],
)
def test_a_wrong_manifest_is_told_in_a_sentence(place, text: str, said: str):
    with pytest.raises(Refusal, match=said):
        read_manifest(written(place, text))


@pytest.mark.parametrize("given", ["ComfyUI-GGUF", "[ComfyUI-GGUF]"])
def test_other_packs_are_named_by_their_folders(place, given: str):
    manifest = read_manifest(written(place, HEAD + f"custom_nodes: {given}\n"))
    assert manifest.custom_nodes == ("ComfyUI-GGUF",)
    assert read_manifest(written(place, HEAD)).custom_nodes == ()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("--extra-model-paths-config '/mnt/my models/paths.yaml'", 2),
        (["--extra-model-paths-config", "/mnt/my models/paths.yaml"], 2),
        ("--reserve-vram=2 --preview-method auto --log-stdout", 4),
    ],
)
def test_options_are_split_as_in_a_shell(given: str | list[str], words: int):
    options = arguments_of(Path("jobs.yaml"), given)
    assert len(options) == words
    assert options[-1] in ("/mnt/my models/paths.yaml", "--log-stdout")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--fast --listen 0.0.0.0", "leave --listen out of args: each worker has a port of its own"),
        ("--port=8188", "leave --port=8188 out of args"),
        ("--input-directory /in", "name the folder by inputs in the manifest"),
        ("--outp /out", "leave --outp out of args: each worker writes into folders of its own"),
        ("--temp-directory /t", "folders of its own"),
        ("--user-directory /u", "folders of its own"),
        ("--base-directory /b", "comfyui, models and inputs"),
        ("--database-url sqlite://", "folders of its own"),
        ("--whitelist-custom-nodes a", "name the folders by custom_nodes"),
        ("--disable-all-custom-nodes", "custom_nodes in the manifest"),
        (["--listen"], "leave --listen out"),
    ],
)
def test_options_that_the_farm_sets_are_refused(given: str | list[str], said: str):
    with pytest.raises(Refusal, match=said):
        arguments_of(Path("jobs.yaml"), given)


def test_a_missing_manifest_is_told(tmp_path):
    with pytest.raises(Refusal, match="cannot be read: No such file"):
        read_manifest(tmp_path / "none.yaml")


def test_another_encoding_is_told(tmp_path):
    file = tmp_path / "jobs.yaml"
    file.write_bytes(b"store: M\xf6we\n")
    with pytest.raises(Refusal, match="Save it as UTF-8"):
        read_manifest(file)
