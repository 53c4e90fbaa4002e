"""ComfyUI's cache sees how large a trajectory, a plan and a noise are; nobody else sees a change."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import pickle
from types import SimpleNamespace
from typing import NamedTuple

import psutil
import pytest
import torch

OUTPUTS = ("trajectory", "windows", "noise")


@pytest.fixture(scope="module")
def outputs(record):
    trajectory, (_, _, noise), windows = record
    return {"trajectory": trajectory, "windows": windows, "noise": noise}


def size_of(trajectory) -> int:
    reach = trajectory.reach
    tensors = [
        trajectory.sigmas,
        trajectory.denoised,
        trajectory.noise,
        trajectory.final,
        *reach.tensors.values(),
    ]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class Entry(NamedTuple):
    """ComfyUI 0.3.75 takes an entry's first field for its outputs, later versions the one of that name."""

    outputs: list
    ui: dict


def let_go(entries, monkeypatch) -> list[str]:
    """The names of the entries in the order in which the cache lets them go when no memory is free."""
    cache = importlib.import_module("comfy_execution.caching").RAMPressureCache(None)
    gone: list[str] = []

    class Watched(dict):
        def __delitem__(self, name):
            gone.append(name)
            super().__delitem__(name)

    cache.cache = Watched({name: Entry([[output]], {}) for name, output in entries.items()})
    cache.used_generation = dict.fromkeys(entries, -1)
    cache.timestamps = dict.fromkeys(entries, 0.0)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=0))
    release = cache.ram_release if hasattr(cache, "ram_release") else cache.poll
    release(1)
    return gone


def test_the_cache_lets_go_the_largest_first(comfy_modules, outputs, monkeypatch):
    size = size_of(outputs["trajectory"])
    entries = {
        "larger": torch.zeros(2 * size, dtype=torch.uint8),
        "smaller": torch.zeros(size // 2, dtype=torch.uint8),
        "nothing": object(),
        "trajectory": outputs["trajectory"],
    }
    gone = let_go(entries, monkeypatch)
    assert gone == ["larger", "trajectory", "smaller", "nothing"]


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_large_output_is_counted(comfy_modules, outputs, monkeypatch, name):
    entries = {"nothing": object(), "tiny": torch.zeros(8, dtype=torch.uint8), name: outputs[name]}
    assert let_go(entries, monkeypatch)[0] == name


def test_its_size_is_that_of_its_tensors(outputs):
    assert outputs["trajectory"].get_ram_usage() == size_of(outputs["trajectory"]) / 2
    assert sum(t.numel() * t.element_size() for t in outputs["trajectory"]) == size_of(outputs["trajectory"])


@pytest.mark.parametrize("name", OUTPUTS)
def test_it_is_otherwise_what_it_was(comfy_modules, outputs, name):
    output = outputs[name]
    of = type(output).__mro__[1]
    assert isinstance(output, of) and type(output).__name__ == of.__name__
    assert output and output in [object(), output] and len({output, output}) == 1
    assert repr(output).lstrip("<").split("(")[0].split(" ")[0].endswith(of.__name__)


def test_what_is_made_of_it_is_plain(graph, outputs):
    trajectory, plain = outputs["trajectory"], type(outputs["trajectory"]).__mro__[1]
    for made in (dataclasses.replace(trajectory, seconds=1.0), trajectory.of_video(0)):
        assert type(made) is plain and made.steps == trajectory.steps


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies_and_pickles_are_plain_and_whole(outputs, name, copied):
    """Benchmarks keep runs in files, and other packs copy what passes by."""
    one, other = outputs[name], copied(outputs[name])
    assert type(other) is type(one).__bases__[0]
    assert vars(other).keys() == vars(one).keys()
    tensors = {key: value for key, value in vars(one).items() if isinstance(value, torch.Tensor)}
    assert all(torch.equal(vars(other)[key], tensor) for key, tensor in tensors.items())
    assert tensors or name == "noise"


def test_the_picked_and_the_loaded_run_are_counted(graph, outputs, output_folder):
    graph.modules.node("S2FlowSaveTrajectory").execute(outputs["trajectory"], "run")
    _, loaded = graph.run("S2FlowLoadTrajectory", file="output/run_00001.s2flow.safetensors")
    latent = {"samples": loaded.final}
    _, picked = graph.run("S2FlowPickPreview", latent=latent, choice=1, trajectory=loaded)
    for run in (loaded, picked):
        assert run.get_ram_usage() == outputs["trajectory"].get_ram_usage()
