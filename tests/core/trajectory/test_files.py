"""A trajectory survives the disk bit for bit, and broken or foreign files are refused in words."""

from __future__ import annotations

import dataclasses
import errno
import json
from pathlib import Path

import pytest
import torch
from recorded_runs import reach, recorded
from safetensors import safe_open
from safetensors.torch import save_file

from s2flow_core.files.written_whole import NotWritten
from s2flow_core.latent.held_latent import HeldLatent
from s2flow_core.reach.record import AttentionReach
from s2flow_core.trajectory.files import load_trajectory, save_trajectory
from s2flow_core.trajectory.trajectory import Trajectory


def test_what_a_mask_held_is_saved(tmp_path: Path):
    run = recorded()
    mask = torch.ones(1, 1, *run.latent_shape[2:])
    mask[:, :, 0] = 0
    kept = HeldLatent(torch.rand(run.latent_shape), mask)
    save_trajectory(dataclasses.replace(run, held=kept), tmp_path / "run.safetensors")
    held = load_trajectory(tmp_path / "run.safetensors").held
    assert held is not None
    assert torch.equal(held.latent, kept.latent) and torch.equal(held.mask, kept.mask)


@pytest.mark.parametrize("count", [1, 2, 11])
def test_sound_beside_the_video_is_saved_in_its_order(tmp_path: Path, count: int):
    streams = tuple(torch.rand(1, 4, 2, 3 + number) for number in range(count))
    save_trajectory(dataclasses.replace(recorded(), beside=streams), tmp_path / "run.safetensors")
    loaded = load_trajectory(tmp_path / "run.safetensors").beside
    assert all(torch.equal(one, other) for one, other in zip(loaded, streams, strict=True))


def test_a_file_without_sound_is_one_of_an_earlier_version(tmp_path: Path):
    save_trajectory(recorded(), tmp_path / "run.safetensors")
    with safe_open(tmp_path / "run.safetensors", "pt") as file:
        assert not [name for name in file.keys() if "beside" in name]  # noqa: SIM118
    assert load_trajectory(tmp_path / "run.safetensors").beside == ()


@pytest.mark.parametrize("attention", [None, reach(), reach(with_error=True)], ids=["none", "mass", "error"])
def test_save_and_load_round_trip(tmp_path: Path, attention: AttentionReach | None):
    saved = recorded(attention)
    save_trajectory(saved, tmp_path / "run.safetensors")
    loaded = load_trajectory(tmp_path / "run.safetensors")
    for field in dataclasses.fields(Trajectory):
        before, after = getattr(saved, field.name), getattr(loaded, field.name)
        if isinstance(before, torch.Tensor):
            assert torch.equal(before, after) and before.dtype == after.dtype
        elif not isinstance(before, AttentionReach):
            assert before == after and type(before) is type(after)
    if saved.reach is not None:
        assert loaded.reach is not None
        assert torch.equal(saved.reach.mass, loaded.reach.mass)
        assert saved.reach.grid == loaded.reach.grid
        assert (saved.reach.error is None) == (loaded.reach.error is None)
        if saved.reach.error is not None and loaded.reach.error is not None:
            assert torch.equal(saved.reach.error, loaded.reach.error)
    assert [file.name for file in tmp_path.iterdir()] == ["run.safetensors"]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "run.safetensors"
    save_trajectory(recorded(), path)
    before = path.read_bytes()

    def full_disk(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(NotWritten, match="drive is full"):
        save_trajectory(recorded(), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("length", [0, 5, 200, -1])
def test_a_damaged_file_is_named(tmp_path: Path, length: int):
    path = tmp_path / "run.safetensors"
    save_trajectory(recorded(), path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"run\.safetensors is damaged"):
        load_trajectory(path)


def test_foreign_missing_and_newer_files_are_named(tmp_path: Path):
    foreign = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(2)}, foreign)
    with pytest.raises(ValueError, match=r"model\.safetensors is not an S²Flow trajectory"):
        load_trajectory(foreign)
    with pytest.raises(ValueError, match="no trajectory file"):
        load_trajectory(tmp_path / "missing.safetensors")
    save_file({"sigmas": torch.zeros(2)}, foreign, {"format": "s2flow.trajectory", "version": "99"})
    with pytest.raises(ValueError, match="version 99"):
        load_trajectory(foreign)
    save_file({"sigmas": torch.zeros(2)}, foreign, {"format": "s2flow.trajectory", "version": "1"})
    with pytest.raises(ValueError, match="damaged"):
        load_trajectory(foreign)


@pytest.mark.parametrize(
    ("version", "missing"),
    [("1", ("nothing", "tail_error", "tail_nothing")), ("2", ("tail_error", "tail_nothing"))],
)
def test_a_record_of_an_earlier_version_still_loads(tmp_path: Path, version: str, missing: tuple[str, ...]):
    path = tmp_path / "old.safetensors"
    old = recorded(reach(with_error=True))
    assert old.reach is not None
    save_trajectory(old, path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    values = json.loads(metadata["values"])
    if version == "1":
        del values["reach"]["knots"]
    for name in missing:
        del tensors[f"reach.{name}"]
    save_file(tensors, path, metadata | {"values": json.dumps(values), "version": version})
    loaded = load_trajectory(path).reach
    assert loaded is not None and loaded.extents == old.reach.extents
    torch.testing.assert_close(loaded.error, old.reach.error)
    assert all(getattr(loaded, name) is None for name in missing)
    assert loaded.tensors.keys() == old.reach.tensors.keys() - set(missing)


def test_some_extents_and_the_error_of_nothing_survive_the_disk(tmp_path: Path):
    mass, error = torch.rand(2, 5, 3, 2, 3, 2, 2).half()
    knots = ((1, 2, 3), (1, 2), (1, 3))
    kept = AttentionReach(mass, (3, 2, 3), (1, 1, 1), error, knots, torch.rand(5, 3, 2).half())
    save_trajectory(recorded(kept), tmp_path / "run.safetensors")
    loaded = load_trajectory(tmp_path / "run.safetensors").reach
    assert loaded is not None and loaded.knots == knots
    torch.testing.assert_close(loaded.nothing, kept.nothing)


def test_a_file_from_before_there_were_seams_still_loads(tmp_path: Path):
    path = tmp_path / "old.safetensors"
    save_trajectory(recorded(), path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    values = json.loads(metadata["values"])
    del values["boundaries"]
    save_file(tensors, path, metadata | {"values": json.dumps(values)})
    assert load_trajectory(path).boundaries == ()
