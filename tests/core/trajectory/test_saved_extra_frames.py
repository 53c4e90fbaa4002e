"""What frames and masks mean stays known in files and in batches."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from recorded_runs import recorded

from s2flow_core.files.checked_tensors import read_header
from s2flow_core.files.written_whole import write_whole
from s2flow_core.latent.extra_frames import NO_EXTRA_FRAMES, ExtraFrames
from s2flow_core.latent.held_latent import HeldLatent
from s2flow_core.trajectory.files import load_trajectory, save_trajectory, tensors_of


@pytest.mark.parametrize(
    "extra",
    [
        NO_EXTRA_FRAMES,
        ExtraFrames((1,)),
        ExtraFrames((1,), (1,)),
        ExtraFrames((1, 1)),
        ExtraFrames(behind=(2,)),
    ],
    ids=str,
)
def test_extra_frames_are_saved(tmp_path: Path, extra: ExtraFrames):
    run = dataclasses.replace(recorded(), extra=extra)
    save_trajectory(run, tmp_path / "run.safetensors")
    assert load_trajectory(tmp_path / "run.safetensors").extra == extra
    assert run.of_video(0).extra == extra


@pytest.mark.parametrize("released_at", [None, 0.0, 0.003, 0.2])
def test_how_a_mask_is_let_go_of_is_saved(tmp_path: Path, released_at: float | None):
    run = recorded()
    held = HeldLatent(torch.rand(run.latent_shape), torch.rand(1, 1, *run.latent_shape[2:]), released_at)
    run = dataclasses.replace(run, held=held)
    save_trajectory(run, tmp_path / "run.safetensors")
    loaded = load_trajectory(tmp_path / "run.safetensors").held
    assert loaded is not None and loaded.released_at == released_at
    one = run.of_video(0).held
    assert one is not None and one.released_at == released_at


@pytest.mark.parametrize("sigma", [-0.1, 1.0, float("inf"), float("nan")])
def test_a_mask_that_is_let_go_of_at_no_sigma_is_damage(tmp_path: Path, sigma: float):
    run = recorded()
    path = tmp_path / "run.safetensors"
    latents = torch.rand(run.latent_shape), torch.rand(1, 1, *run.latent_shape[2:])
    with pytest.raises(ValueError, match="could not be loaded again"):
        save_trajectory(dataclasses.replace(run, held=HeldLatent(*latents, sigma)), path)
    run = dataclasses.replace(run, held=HeldLatent(*latents, 0.5))
    save_trajectory(run, path)
    metadata = read_header(path).metadata
    values = json.loads(metadata["values"]) | {"held_released_at": sigma}
    write_whole(path, tensors_of(run), metadata | {"values": json.dumps(values)}, replace=True)
    with pytest.raises(ValueError, match=r"run\.safetensors is damaged"):
        load_trajectory(path)
