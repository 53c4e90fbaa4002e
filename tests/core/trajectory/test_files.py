"""A trajectory survives the disk bit for bit, and broken or foreign files are refused in words."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from recorded_runs import STEPS, reach, recorded
from safetensors import safe_open
from safetensors.torch import save_file

from s2flow_core.latent.held_latent import HeldLatent
from s2flow_core.reach.record import AttentionReach
from s2flow_core.trajectory.files import load_trajectory, save_trajectory
from s2flow_core.trajectory.trajectory import Trajectory
from s2flow_core.transition.upsample import clean_estimate


def test_what_a_mask_held_is_saved_and_goes_with_its_video(tmp_path: Path):
    run = recorded()
    latent = torch.arange(2.0)[:, None, None, None, None].expand(2, *run.latent_shape[1:]).contiguous()
    mask = torch.ones(2, 1, *run.latent_shape[2:])
    mask[0, :, 0] = 0
    batch = dataclasses.replace(
        run,
        denoised=run.denoised.repeat(1, 2, 1, 1, 1, 1),
        noise=run.noise.repeat(1, 2, 1, 1, 1, 1),
        final=run.final.repeat(2, 1, 1, 1, 1),
        held=HeldLatent(latent, mask),
    )
    save_trajectory(batch, tmp_path / "run.safetensors")
    held = load_trajectory(tmp_path / "run.safetensors").held
    assert held is not None
    assert torch.equal(held.latent, latent) and torch.equal(held.mask, mask)
    one = batch.of_video(1).held
    assert one is not None
    assert torch.equal(one.latent, latent[1:]) and torch.equal(one.mask, mask[1:])
    clean = clean_estimate(batch, 2)
    assert (clean[0, :, 0] == 0).all()
    assert torch.equal(clean[:, :, 1:], batch.denoised[STEPS - 2][:, :, 1:].float())
    assert tuple(held.mask_at((8, 9)).shape) == (2, 1, 3, 8, 9)
    assert set(held.mask_at((7, 9)).unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("with_reach", [False, True])
def test_save_and_load_round_trip(tmp_path: Path, with_reach: bool):
    saved = recorded(reach() if with_reach else None)
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
    assert [file.name for file in tmp_path.iterdir()] == ["run.safetensors"]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "run.safetensors"
    save_trajectory(recorded(), path)
    before = path.read_bytes()

    def full_disk(_tensors: object, unfinished: str, _metadata: object) -> None:
        Path(unfinished).write_bytes(b"half a file")
        raise OSError("No space left on device")

    monkeypatch.setattr("s2flow_core.trajectory.files.save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
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
