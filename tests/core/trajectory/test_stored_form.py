"""Every field of a trajectory file is checked, and before anything of it is allocated."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_runs import reach, recorded

from s2flow_core.files.checked_tensors import UnreadableFile, read_header
from s2flow_core.files.written_whole import write_whole
from s2flow_core.latent.held_latent import HeldLatent
from s2flow_core.trajectory.files import load_trajectory, save_trajectory, tensors_of


def saved(tmp_path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a run with everything: attention, a mask, two streams beside, a boundary."""
    run = recorded(reach(with_error=True))
    held = HeldLatent(torch.rand(run.latent_shape), torch.ones(1, 1, *run.latent_shape[2:]))
    run = dataclasses.replace(run, held=held, beside=(torch.rand(1, 4), torch.rand(1, 3)), boundaries=(2,))
    save_trajectory(run, tmp_path / "whole")
    return tensors_of(run), read_header(tmp_path / "whole").metadata


WRONG_TENSORS: dict[str, dict[str, Any]] = {
    "sigmas too short": {"sigmas": torch.linspace(1, 0, 5)},
    "sigmas double": {"sigmas": torch.linspace(1, 0, 6).double()},
    "sigmas rise": {"sigmas": torch.tensor([1, 0.8, 0.9, 0.4, 0.2, 0])},
    "sigmas begin above 1": {"sigmas": torch.tensor([14.0, 0.8, 0.6, 0.4, 0.2, 0])},
    "sigmas end below 0": {"sigmas": torch.tensor([1, 0.8, 0.6, 0.4, 0.2, -0.1])},
    "estimates are whole numbers": {"denoised": torch.zeros(5, 1, 4, 3, 4, 6, dtype=torch.int16)},
    "no step": {"denoised": torch.zeros(0, 1, 4, 3, 4, 6)},
    "noise of another size": {"noise": torch.zeros(5, 1, 4, 3, 4, 7)},
    "noise of other steps": {"noise": torch.zeros(4, 1, 4, 3, 4, 6)},
    "final without frames": {"final": torch.zeros(1, 4, 4, 6)},
    "final missing": {"final": None},
    "mask missing": {"held.mask": None},
    "held latent missing": {"held.latent": None},
    "mask of other channels": {"held.mask": torch.zeros(1, 3, 3, 4, 6)},
    "mask of another size": {"held.mask": torch.zeros(1, 1, 3, 2, 3)},
    "sound of two videos": {"beside.1": torch.zeros(2, 3)},
    "sound without axes": {"beside.1": torch.tensor(0.0)},
    "sound numbered from 1": {"beside.0": None},
    "sound numbered otherwise": {"beside.x": torch.zeros(1, 3)},
    "attention missing": {"reach.mass": None},
    "attention of other steps": {"reach.mass": torch.zeros(4, 3, 2, 3, 2, 3).half()},
    "attention of other layers": {"reach.mass": torch.zeros(5, 4, 2, 3, 2, 3).half()},
    "attention of other heads": {"reach.error": torch.zeros(5, 3, 4, 3, 2, 3).half()},
    "attention of another grid": {"reach.mass": torch.zeros(5, 3, 2, 3, 2, 4).half()},
    "seeing nothing of other heads": {"reach.nothing": torch.zeros(5, 3, 4).half()},
    "seeing nothing of every window": {"reach.nothing": torch.zeros(5, 3, 2, 3, 2, 3).half()},
    "a tail of other heads": {"reach.tail_error": torch.zeros(5, 3, 4, 3, 2, 3).half()},
    "a tail alone of every window": {"reach.tail_nothing": torch.zeros(5, 3, 2, 3, 2, 3).half()},
    "attention above 1": {"reach.mass": torch.full((5, 3, 2, 3, 2, 3), 1.5).half()},
    "attention below 0": {"reach.mass": torch.full((5, 3, 2, 3, 2, 3), -0.5).half()},
    "a tensor too many": {"weights": torch.zeros(3)},
    "NaN": {"final": torch.full((1, 4, 3, 4, 6), float("nan"))},
}

GRID = {"shape": [3, 2, 3], "tile": [1, 1, 1]}
TIMED = {"whole": 2.5, "attention": 1.0, "capture": 0.5}

WRONG_VALUES: dict[str, dict[str, Any]] = {
    "two sides": {"token_shape": [3, 2]},
    "no side": {"token_shape": [3, 2, 0]},
    "tokens of another latent": {"token_shape": [3, 2, 4]},
    "patch of another model": {"patch": [1, 1, 1]},
    "patch beyond all": {"patch": [1, 2, 1 << 40]},
    "patch a fraction": {"patch": [1, 2, 2.0]},
    "seconds below 0": {"seconds": -1},
    "seconds text": {"seconds": "1.5"},
    "seconds without end": {"seconds": 1e999},
    "seconds missing": {"seconds": None},
    "boundary 0": {"boundaries": [0]},
    "boundary at the end": {"boundaries": [5]},
    "boundaries twice": {"boundaries": [2, 2]},
    "boundaries fall": {"boundaries": [3, 1]},
    "boundaries no list": {"boundaries": 2},
    "model missing": {"model": None},
    "model incomplete": {"model": {"family": "wan2.1"}},
    "model with code": {"model": {"__reduce__": "os.system", "family": "wan2.1"}},
    "reach missing": {"reach": None},
    "reach no object": {"reach": [3, 2, 3]},
    "reach without tile": {"reach": {"shape": [3, 2, 3]}},
    "reach of no token": {"reach": {"shape": [3, 0, 3], "tile": [1, 1, 1]}},
    "extents of two axes": {"reach": GRID | {"knots": [[1, 2, 3], [1, 2]]}},
    "extents no lists": {"reach": GRID | {"knots": [3, 2, 3]}},
    "no extent": {"reach": GRID | {"knots": [[], [1, 2], [1, 2, 3]]}},
    "an extent of nothing": {"reach": GRID | {"knots": [[0, 2, 3], [1, 2], [1, 2, 3]]}},
    "extents fall": {"reach": GRID | {"knots": [[2, 1, 3], [1, 2], [1, 2, 3]]}},
    "extents twice": {"reach": GRID | {"knots": [[1, 3, 3], [1, 2], [1, 2, 3]]}},
    "extents beyond the video": {"reach": GRID | {"knots": [[1, 2, 4], [1, 2], [1, 2, 3]]}},
    "extents short of the video": {"reach": GRID | {"knots": [[1, 2, 3], [1], [1, 2, 3]]}},
    "euler no yes or no": {"euler": 1},
    "chained from two sides": {"chained_from": [3, 2]},
    "chained from nothing": {"chained_from": []},
    "seconds of a step a number": {"step_seconds": 2.5},
    "seconds of a step without its parts": {"step_seconds": {"whole": 2.5}},
    "seconds of a step in words": {"step_seconds": TIMED | {"capture": "1"}},
    "seconds of a step below 0": {"step_seconds": TIMED | {"attention": -1.0}},
    "seconds of a step without end": {"step_seconds": TIMED | {"whole": 1e999}},
    "seconds of a step and more": {"step_seconds": TIMED | {"__class__": 1.0}},
    "fewer extents than were recorded": {"reach": GRID | {"knots": [[1, 3], [1, 2], [1, 2, 3]]}},
}


@pytest.mark.parametrize("changes", WRONG_TENSORS.values(), ids=WRONG_TENSORS.keys())
def test_a_wrong_tensor_is_refused(tmp_path: Path, changes: dict[str, Any]):
    tensors, metadata = saved(tmp_path)
    kept = {name: tensor for name, tensor in (tensors | changes).items() if tensor is not None}
    write_whole(tmp_path / "run", kept, metadata, replace=True)
    with pytest.raises(UnreadableFile, match=r"^run is damaged.* Save the trajectory again\.$"):
        load_trajectory(tmp_path / "run")


@pytest.mark.parametrize("changes", WRONG_VALUES.values(), ids=WRONG_VALUES.keys())
def test_a_wrong_value_is_refused_before_anything_is_allocated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
):
    tensors, metadata = saved(tmp_path)
    values = json.loads(metadata["values"]) | changes
    write_whole(tmp_path / "run", tensors, metadata | {"values": json.dumps(values)}, replace=True)
    monkeypatch.setattr(torch, "empty", lambda *_, **__: pytest.fail("allocated before it was checked"))
    with pytest.raises(UnreadableFile, match=r"^run is damaged.* Save the trajectory again\.$"):
        load_trajectory(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("family", 3),
        ("family", "w" * 300),
        ("latent_format", None),
        ("layers", -1),
        ("heads", 2.0),
        ("channels", True),
    ],
)
def test_a_model_that_cannot_be_is_refused(tmp_path: Path, name: str, wrong: Any):
    tensors, metadata = saved(tmp_path)
    values = copy.deepcopy(json.loads(metadata["values"]))
    values["model"][name] = wrong
    write_whole(tmp_path / "run", tensors, metadata | {"values": json.dumps(values)}, replace=True)
    with pytest.raises(UnreadableFile, match=rf"its model's {name} is no "):
        load_trajectory(tmp_path / "run")


@pytest.mark.parametrize("values", ["[]", "3", '"text"', "", "{", '{"a": NaN}', "[" * 9999])
def test_values_that_are_no_object_are_refused(tmp_path: Path, values: str):
    tensors, metadata = saved(tmp_path)
    write_whole(tmp_path / "run", tensors, metadata | {"values": values}, replace=True)
    with pytest.raises(UnreadableFile, match="run is damaged"):
        load_trajectory(tmp_path / "run")


def test_another_kind_of_file_is_told_apart(tmp_path: Path):
    tensors, metadata = saved(tmp_path)
    for changed in ({}, {"format": "pt"}, metadata | {"format": "s2flow.resume"}):
        write_whole(tmp_path / "run", tensors, changed, replace=True)
        with pytest.raises(UnreadableFile, match="run is not an S²Flow trajectory"):
            load_trajectory(tmp_path / "run")
    for version in ("0", "4", "1.0", "v" * 999):
        write_whole(tmp_path / "run", tensors, metadata | {"version": version}, replace=True)
        with pytest.raises(UnreadableFile, match=rf"version {version[:20]}; this pack reads version 3"):
            load_trajectory(tmp_path / "run")


def test_more_steps_than_any_run_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tensors, metadata = saved(tmp_path)
    write_whole(tmp_path / "run", tensors, metadata, replace=True)
    assert load_trajectory(tmp_path / "run").steps == 5
    monkeypatch.setattr("s2flow_core.trajectory.stored_form._MOST_STEPS", 4)
    with pytest.raises(UnreadableFile, match="claims 5 steps, more than the 4 allowed"):
        load_trajectory(tmp_path / "run")


@pytest.mark.parametrize("name", ["sigmas", "denoised", "noise", "final"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path, name: str, value: float):
    run = recorded()
    save_trajectory(run, tmp_path / "run")
    before = (tmp_path / "run").read_bytes()
    broken = dataclasses.replace(run, **{name: getattr(run, name) * value})
    with pytest.raises(ValueError, match=rf"could not be loaded again.*'{name}' holds NaN"):
        save_trajectory(broken, tmp_path / "run")
    assert (tmp_path / "run").read_bytes() == before
    with pytest.raises(ValueError, match=r"could not be loaded again.*\(1, 1, 1\) tokens"):
        save_trajectory(dataclasses.replace(run, token_shape=(1, 1, 1)), tmp_path / "run")
