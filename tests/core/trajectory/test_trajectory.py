"""A trajectory survives the disk bit for bit, and files or models that do not fit are refused in words."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from s2flow_core.latent.flow import noise_estimate, shifted_sigmas
from s2flow_core.latent.held_latent import HeldLatent
from s2flow_core.reach.record import AttentionReach
from s2flow_core.trajectory.files import load_trajectory, save_trajectory
from s2flow_core.trajectory.recorder import TrajectoryRecorder
from s2flow_core.trajectory.trajectory import ModelIdentity, Trajectory
from s2flow_core.transition.upsample import clean_estimate
from s2flow_core.windows.grid import TokenGrid

MODEL = ModelIdentity("wan2.1", layers=3, heads=2, channels=4, latent_format="Wan21")
STEPS = 5


def recorded(reach: AttentionReach | None = None, scale: float = 1.0) -> Trajectory:
    generator = torch.Generator().manual_seed(0)
    recorder = TrajectoryRecorder()
    for sigma in shifted_sigmas(STEPS, 3.0)[:-1]:
        x, denoised = torch.randn(2, 1, 4, 3, 4, 6, generator=generator)
        recorder.record(sigma, denoised * scale, noise_estimate(x, denoised, sigma))
    return recorder.finish(denoised, (3, 2, 3), (1, 2, 2), MODEL, 1.5, reach)


def reach() -> AttentionReach:
    grid = TokenGrid((3, 2, 3), (1, 1, 1))
    return AttentionReach(torch.rand(STEPS, 3, 2, *grid.tiles).half(), grid.shape, grid.tile)


def test_recorder_keeps_every_step():
    trajectory = recorded()
    assert (trajectory.steps, trajectory.batch, trajectory.latent_shape) == (STEPS, 1, (1, 4, 3, 4, 6))
    torch.testing.assert_close(trajectory.sigmas, shifted_sigmas(STEPS, 3.0))
    assert trajectory.denoised.dtype == trajectory.noise.dtype == torch.float16
    assert trajectory.final.dtype == torch.float32


def test_recorder_owns_its_tensors():
    recorder = TrajectoryRecorder(torch.float32)
    buffer = torch.zeros(1, 1, 1, 2, 2)
    recorder.record(1.0, buffer, buffer)
    buffer.fill_(7)
    assert recorder.finish(buffer, (1, 1, 1), (1, 2, 2), MODEL, 0.0).denoised.abs().max() == 0


def test_recorder_refuses_what_half_precision_cannot_hold():
    with pytest.raises(ValueError, match="clean estimate holds"):
        recorded(scale=1e6)


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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"family": "hunyuan_video"}, "model family is wan2.1"),
        ({"layers": 30}, "number of layers is 3, the connected model has 30"),
        ({"heads": 12}, "attention heads is 2"),
        ({"channels": 16}, "latent channels is 4"),
        ({"latent_format": "Wan22"}, "latent format is Wan21"),
    ],
)
def test_another_architecture_is_named(change: dict, words: str):
    recorded().check_fits(MODEL)
    with pytest.raises(ValueError, match=words):
        recorded().check_fits(dataclasses.replace(MODEL, **change))


def part(first: int, last: int, with_reach: bool = True) -> Trajectory:
    """Steps first to last-1 of a run, as a Low-Res Sampler of its own records them."""
    sigmas = shifted_sigmas(STEPS, 3.0)
    generator = torch.Generator().manual_seed(first)
    recorder = TrajectoryRecorder()
    for sigma in sigmas[first:last]:
        x, denoised = torch.randn(2, 1, 4, 3, 4, 6, generator=generator)
        recorder.record(sigma, denoised, noise_estimate(x, denoised, sigma))
    whole = reach()
    own = dataclasses.replace(whole, mass=whole.mass[first:last]) if with_reach else None
    end = float(sigmas[last])
    return recorder.finish(denoised, (3, 2, 3), (1, 2, 2), MODEL, 1.5, own, end_sigma=end)


def test_a_continued_run_is_one_record_that_knows_its_seams(tmp_path: Path):
    torch.manual_seed(0)
    first, second, third = part(0, 2), part(2, 4), part(4, STEPS)
    assert not first.finished
    whole = first.followed_by(second).followed_by(third)
    assert whole.finished
    assert (whole.steps, whole.boundaries, whole.seconds) == (STEPS, (2, 4), 4.5)
    assert first.followed_by(second.followed_by(third)).boundaries == (2, 4)
    torch.testing.assert_close(whole.sigmas, shifted_sigmas(STEPS, 3.0))
    assert torch.equal(whole.denoised[2:4], second.denoised)
    assert torch.equal(whole.final, third.final)
    assert whole.reach is not None and third.reach is not None
    assert torch.equal(whole.reach.mass[4:], third.reach.mass)
    save_trajectory(whole, tmp_path / "seams.safetensors")
    assert load_trajectory(tmp_path / "seams.safetensors").boundaries == (2, 4)


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


def test_attention_is_kept_only_if_both_parts_have_it():
    assert part(0, 2).followed_by(part(2, STEPS, with_reach=False)).reach is None


def test_what_cannot_be_continued_is_named():
    with pytest.raises(ValueError, match="already ran to sigma 0"):
        recorded().followed_by(part(2, STEPS))
    with pytest.raises(ValueError, match=r"stopped at sigma 0.8182, but these sigmas start at 0.6667"):
        part(0, 2).followed_by(part(3, STEPS))
    larger = dataclasses.replace(part(2, STEPS), denoised=torch.zeros(3, 1, 4, 3, 8, 12))
    with pytest.raises(ValueError, match="of one size"):
        part(0, 2).followed_by(larger)
    with pytest.raises(ValueError, match=r"stopped at sigma 0.8182. Continue it to 0 first"):
        part(0, 2).require_finished()


def test_one_video_of_a_batch():
    recorder = TrajectoryRecorder(torch.float32)
    values = torch.arange(3.0).view(3, 1, 1, 1, 1).expand(3, 4, 3, 4, 6)
    recorder.record(1.0, values, values + 10)
    batch = recorder.finish(values, (3, 2, 3), (1, 2, 2), MODEL, 1.0)
    one = batch.of_video(2)
    assert (one.batch, one.latent_shape) == (1, (1, 4, 3, 4, 6))
    assert (one.denoised == 2).all() and (one.noise == 12).all() and (one.final == 2).all()
