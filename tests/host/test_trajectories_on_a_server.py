"""In a running ComfyUI: linked names, bad links in its folder, several prompts and servers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_runs import recorded

from comfyui_runner.client import ComfyClient, PromptRefused
from comfyui_runner.ports import free_port
from comfyui_runner.server import ComfyServer
from s2flow_core.trajectory.files import load_trajectory, save_trajectory

SUFFIX = ".s2flow.safetensors"


@pytest.fixture
def saved(comfyui_server, request) -> Callable[[float], str]:
    """Puts a run into the server's output folder and gives its listed name; `value` tells it from others."""

    def save(value: float) -> str:
        path = comfyui_server.output / request.node.name / f"made_{value}{SUFFIX}"
        path.parent.mkdir(exist_ok=True)
        save_trajectory(recorded(scale=value), path)
        return f"output/{path.relative_to(comfyui_server.output).as_posix()}"

    return save


def copied(file: Any, prefix: str) -> dict[str, Any]:
    """A graph that loads a run and saves it again."""
    return {
        "1": {"class_type": "PrimitiveString", "inputs": {"value": file if isinstance(file, str) else ""}},
        "2": {"class_type": "S2FlowLoadTrajectory", "inputs": {"file": file}},
        "3": {
            "class_type": "S2FlowSaveTrajectory",
            "inputs": {"trajectory": ["2", 1], "filename_prefix": prefix},
        },
    }


def linked(file: str, prefix: str) -> dict[str, Any]:
    graph = copied(file, prefix)
    graph["2"]["inputs"]["file"] = ["1", 0]
    return graph


def written(run: Any, output: Path) -> Any:
    assert run.succeeded, run.error
    (shown,) = run.outputs["3"]["text"]
    return load_trajectory(output / shown.removeprefix("output/"))


@pytest.mark.parametrize("graph", [copied, linked])
def test_a_name_by_widget_and_by_link_load_the_same(comfyui_server, saved, graph):
    run = comfyui_server.queue(graph(saved(0.5), "copies/[run]"))
    assert torch.equal(written(run, comfyui_server.output).denoised, recorded(scale=0.5).denoised)


def test_another_linked_name_loads_another_run(comfyui_server, saved):
    for value in (0.25, 0.75):
        run = comfyui_server.queue(linked(saved(value), "copies/run"))
        assert torch.equal(written(run, comfyui_server.output).denoised, recorded(scale=value).denoised)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("output/none" + SUFFIX, "There is no trajectory file at"),
        ("../../etc/passwd", "choose a file from the list"),
        ("", "choose a file from the list"),
    ],
)
def test_a_linked_name_that_is_wrong_is_told_when_it_is_known(comfyui_server, name, says):
    run = comfyui_server.queue(linked(name, "copies/run"))
    assert not run.succeeded and says in (run.error or "")


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("output/none" + SUFFIX, "is gone; refresh the list"),
        ("output/../secret", "choose a file from the list"),
        (7, "is the name of a trajectory file, not int"),
        ({"__value__": ["output/a", "output/b"]}, "is the name of a trajectory file, not list"),
        (["1", 0], r"file takes the name of a file, not INT"),
    ],
    ids=["gone", "leads out", "number", "list", "linked number"],
)
def test_a_wrong_name_is_refused_before_anything_runs(comfyui_server, file, says):
    graph = copied(file, "copies/run")
    graph["1"] = {"class_type": "PrimitiveInt", "inputs": {"value": 1}}
    with pytest.raises(PromptRefused, match=says):
        comfyui_server.queue(graph)


def test_bad_links_in_the_folder_hinder_nobody(comfyui_server, saved):
    file, folder = saved(1.0), comfyui_server.output / "links"
    folder.mkdir(exist_ok=True)
    for name, target in (("gone", "nowhere"), ("self", f"self{SUFFIX}"), ("up", "..")):
        (folder / f"{name}{SUFFIX}").symlink_to(target)
    assert comfyui_server.queue(copied(file, "links/run")).succeeded
    listed = comfyui_server.client.object_info()["S2FlowLoadTrajectory"]["input"]["required"]["file"]
    names = listed[0] if isinstance(listed[0], list) else listed[1]["options"]
    assert file in names and not any("gone" in name or "self" in name for name in names)


def test_prompts_queued_together_save_each_its_own(comfyui_server, saved):
    values, runs = (0.1, 0.2, 0.3), {}
    clients = {value: ComfyClient(comfyui_server.client.url) for value in values}

    def queue(value: float) -> None:
        runs[value] = clients[value].run(copied(saved(value), "together/same"))

    threads = [threading.Thread(target=queue, args=(value,)) for value in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shown = [runs[value].outputs["3"]["text"][0] for value in values]
    assert sorted(shown) == [f"output/together/same_{number:05}{SUFFIX}" for number in (1, 2, 3)]
    for value in values:
        got = written(runs[value], comfyui_server.output)
        assert torch.equal(got.denoised, recorded(scale=value).denoised)


@pytest.mark.long
def test_two_servers_on_one_output_folder_save_each_its_own(comfyui_server, saved, tmp_path, amount):
    (tmp_path / "output").symlink_to(comfyui_server.output)
    files = [saved(0.5), saved(1.5)]
    known = comfyui_server.server
    rounds = amount("saves by two servers at once, pairs", 5, 20)
    with ComfyServer(known.comfyui, known.python, free_port(), tmp_path, cpu=True) as second:
        clients = [ComfyClient(known.url), ComfyClient(second.url)]
        got: dict[tuple[int, int], Any] = {}

        def save(which: int, turn: int) -> None:
            prompt = copied(files[which], "both/same")
            # Another prefix of the same file name, so that the cache does not answer.
            prompt["3"]["inputs"]["filename_prefix"] = f"both/{'./' * turn}same"
            got[which, turn] = clients[which].run(prompt)

        for turn in rounds:
            threads = [threading.Thread(target=save, args=(which, turn)) for which in (0, 1)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert len(list((comfyui_server.output / "both").iterdir())) == 2 * rounds.number
    for (which, _), run in got.items():
        assert torch.equal(
            written(run, comfyui_server.output).denoised, recorded(scale=(0.5, 1.5)[which]).denoised
        )
