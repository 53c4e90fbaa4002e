"""ComfyUI's folders as artists have them: any name, links to other drives and to nowhere, drives that go."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

SUFFIX = ".s2flow.safetensors"
NODE = "S2FlowLoadTrajectory"


@pytest.fixture
def places(comfy_modules, output_folder):
    return comfy_modules.pack("nodes.host.file_places")


def file_at(path: Path, age: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    os.utime(path, (0, 1_000_000 - age))
    return path


def listed(comfy_modules) -> list[str]:
    """What the node's schema offers, as ComfyUI asks for it before every prompt."""
    return comfy_modules.node(NODE).define_schema().inputs[0].options


def test_newest_first_from_both_folders(comfy_modules, output_folder):
    file_at(output_folder / f"b{SUFFIX}", age=2)
    file_at(output_folder / "a" / f"a{SUFFIX}", age=1)
    file_at(output_folder.parent / "input" / f"c{SUFFIX}", age=3)
    file_at(output_folder / "model.safetensors")
    assert listed(comfy_modules) == [f"output/a/a{SUFFIX}", f"output/b{SUFFIX}", f"input/c{SUFFIX}"]


BAD_LINKS = {
    "dangling link": lambda folder: (folder / f"gone{SUFFIX}").symlink_to(folder / "nowhere"),
    "link to itself": lambda folder: (folder / f"self{SUFFIX}").symlink_to(folder / f"self{SUFFIX}"),
    "links in a circle": lambda folder: [
        (folder / f"{one}{SUFFIX}").symlink_to(folder / f"{other}{SUFFIX}")
        for one, other in (("x", "y"), ("y", "x"))
    ],
    "link to the folder above": lambda folder: (folder / "deep" / "up").symlink_to(folder),
    "two folders that link to each other": lambda folder: [
        (folder / one / "other").symlink_to(folder / other) for one, other in (("p", "q"), ("q", "p"))
    ],
    "unplugged drive": lambda folder: (folder / "drive").symlink_to("/mnt/no-such-drive/runs"),
    "pipe": lambda folder: os.mkfifo(folder / f"pipe{SUFFIX}"),
    "folder with the name of a file": lambda folder: (folder / f"folder{SUFFIX}").mkdir(),
    "name that is no text": lambda folder: file_at(folder / os.fsdecode(b"run\xff" + SUFFIX.encode())),
}


@pytest.mark.parametrize("make", BAD_LINKS.values(), ids=BAD_LINKS.keys())
def test_no_bad_link_hides_the_good_file(comfy_modules, output_folder, make):
    for name in ("deep", "p", "q"):
        (output_folder / name).mkdir()
    file_at(output_folder / "deep" / f"good{SUFFIX}")
    make(output_folder)
    assert listed(comfy_modules) == [f"output/deep/good{SUFFIX}"]
    assert comfy_modules.node(NODE).validate_inputs(f"output/deep/good{SUFFIX}", {}) is True


@pytest.mark.parametrize("call", ["getmtime", "isfile"])
def test_a_file_that_vanishes_while_it_is_listed(comfy_modules, output_folder, monkeypatch, call):
    file_at(output_folder / f"good{SUFFIX}")
    vanishing = file_at(output_folder / f"vanishing{SUFFIX}")
    ask = getattr(os.path, call)

    def vanish(path):
        if os.fspath(path) == os.fspath(vanishing):
            vanishing.unlink(missing_ok=True)
        return ask(path)

    monkeypatch.setattr(os.path, call, vanish)
    assert listed(comfy_modules) == [f"output/good{SUFFIX}"]


@pytest.mark.parametrize("call", ["scandir", "stat", "readlink"])
@pytest.mark.parametrize("problem", [PermissionError(13, "no"), OSError(5, "unplugged"), OSError(40, "loop")])
def test_any_fault_of_the_system_leaves_a_list(comfy_modules, output_folder, monkeypatch, call, problem):
    file_at(output_folder / "good" / f"good{SUFFIX}")
    file_at(output_folder / "bad" / f"bad{SUFFIX}")
    ask = getattr(os, call)

    def fail(path=".", *given, **named):
        if "bad" in os.fspath(path):
            raise problem
        return ask(path, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        offered = listed(comfy_modules)
    assert f"output/good/good{SUFFIX}" in offered


def test_folders_that_are_not_there(comfy_modules, output_folder):
    shutil.rmtree(output_folder)
    assert listed(comfy_modules) == []


def test_what_an_artist_linked_is_listed_found_and_saved_into(graph, output_folder, tmp_path):
    drive = tmp_path / "drive"
    drive.mkdir()
    (output_folder / "runs").symlink_to(drive)
    _, trajectory = graph.low_res(capture_rows=0)
    save = graph.modules.node("S2FlowSaveTrajectory")
    shown = save.execute(trajectory, "runs/day").ui.as_dict()["text"][0]
    assert shown == f"output/runs/day_00001{SUFFIX}" and (drive / f"day_00001{SUFFIX}").is_file()
    single = f"single{SUFFIX}"
    (output_folder / single).symlink_to(drive / f"day_00001{SUFFIX}")
    (output_folder / "chain").symlink_to(output_folder / "runs")
    assert set(listed(graph.modules)) == {f"output/chain/day_00001{SUFFIX}", f"output/{single}"}
    for file in (shown, f"output/{single}", f"output/chain/day_00001{SUFFIX}"):
        assert graph.modules.node(NODE).validate_inputs(file, {}) is True
        assert graph.run(NODE, file=file)[1].steps == trajectory.steps


def test_a_folder_with_two_names_is_listed_by_its_own(comfy_modules, output_folder):
    file_at(output_folder / "z" / f"run{SUFFIX}")
    (output_folder / "a").symlink_to(output_folder / "z")
    assert listed(comfy_modules) == [f"output/z/run{SUFFIX}"]


OUTSIDE = [
    "output/../secret",
    "output/../../secret",
    "output/a/../../secret",
    "output//etc/hosts",
    "output/",
    "output",
    "elsewhere/run",
    "/etc/hosts",
    "",
    "output/run\0",
    "output/\ud800",
    None,
    5,
    ["output/run"],
]


@pytest.mark.parametrize("file", OUTSIDE)
def test_a_name_that_leads_out_is_refused(comfy_modules, places, file):
    with pytest.raises(ValueError, match=r"choose a file from the list|is the name of a trajectory file"):
        places.path_of(file)
    node = comfy_modules.node(NODE)
    assert isinstance(node.validate_inputs(file, {}), str)
    assert node.fingerprint_inputs(file) == ""
    with pytest.raises(ValueError, match=r"choose a file from the list|is the name of a trajectory file"):
        node.execute(file)


@pytest.mark.parametrize(
    "prefix", ["../run", "a/../../run", "/tmp/run", "", ".", "..", "a/..", "run\0", "\udc00"]
)
def test_a_prefix_that_leads_out_is_refused(places, output_folder, prefix):
    before = sorted(output_folder.parent.rglob("*"))
    with pytest.raises(ValueError, match="is no name in ComfyUI's output folder"):
        places.numbered_files(prefix, SUFFIX)
    assert sorted(output_folder.parent.rglob("*")) == before


PREFIXES = [
    "t[wan]",
    "**",
    "*",
    "?",
    "a*/b[!x]",
    "[",
    "[]]",
    "{a,b}",
    "größe/\u03c3",
    "run 1",
    "%year%[1]",
    "a.b_",
    "~",
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_prefix_counts_its_own_files(places, prefix):
    for number in (1, 2, 3):
        pattern, first = places.numbered_files(prefix, SUFFIX)
        assert first == number
        file_at(pattern(first))
    assert len(places.listed_files(SUFFIX)) == 3


def test_numbers_are_found_by_exact_names(places, output_folder):
    for name in (
        "run_00003",
        "run_7",
        "run_x",
        "run_²",
        "run_",
        "run_00009_",
        "runner_00099",
        "Run_-1",
        "run_ 8",
    ):
        file_at(output_folder / f"{name}{SUFFIX}")
    file_at(output_folder / "run_00044.safetensors")
    assert places.numbered_files("run", SUFFIX)[1] == 8
    file_at(output_folder / f"run_{'1' * 200}{SUFFIX}")
    assert places.numbered_files("run", SUFFIX)[1] == int("1" * 18) + 1


def test_a_folder_that_cannot_be_made_is_said(places, output_folder):
    (output_folder / "unplugged").symlink_to("/mnt/no-such-drive/runs")
    (output_folder / "file").write_text("")
    (output_folder / "loop").symlink_to(output_folder / "loop")
    for prefix in ("unplugged/run", "unplugged/deeper/run", "file/run", "loop/run"):
        with pytest.raises(OSError, match=r"was not written: .*(is gone|not connected).*unharmed"):
            places.numbered_files(prefix, SUFFIX)


@pytest.mark.parametrize("received", ["STRING", "COMBO", "*", ["a", "b"], "STRING,INT"])
def test_a_linked_name_waits_for_execution(comfy_modules, received):
    node = comfy_modules.node(NODE)
    assert node.validate_inputs(None, {"file": received}) is True
    assert node.fingerprint_inputs(None) == ""


@pytest.mark.parametrize("received", ["IMAGE", "INT", "S2FLOW_TRAJECTORY"])
def test_a_link_that_brings_no_name_is_refused(comfy_modules, received):
    assert received in comfy_modules.node(NODE).validate_inputs(None, {"file": received})


def test_a_file_that_is_gone_is_told_before_the_run(comfy_modules, output_folder):
    node = comfy_modules.node(NODE)
    file_at(output_folder / "file")
    for file in ("output/none", "output/file/none", "input/" + "x" * 300, "output/folder\nname"):
        assert "is gone" in node.validate_inputs(file, {})


def test_another_file_of_the_same_name_is_noticed(comfy_modules, output_folder):
    node, path = comfy_modules.node(NODE), file_at(output_folder / "run")
    first = node.fingerprint_inputs("output/run")
    path.write_bytes(b"longer")
    second = node.fingerprint_inputs("output/run")
    os.utime(path, (0, 5))
    assert len({first, second, node.fingerprint_inputs("output/run"), ""}) == 4
