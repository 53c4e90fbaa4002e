"""Runs are continued as one record, and models or parts that do not fit are refused in words."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from recorded_runs import MODEL, STEPS, reach, recorded

from s2flow_core.latent.flow import noise_estimate, shifted_sigmas
from s2flow_core.latent.held_latent import HeldLatent
from s2flow_core.trajectory.files import load_trajectory, save_trajectory
from s2flow_core.trajectory.recorder import TrajectoryRecorder
from s2flow_core.trajectory.trajectory import Trajectory


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
    denoised = torch.empty(0)
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
    held = HeldLatent(values + 20, torch.arange(3.0).view(3, 1, 1, 1, 1))
    batch = recorder.finish(values, (3, 2, 3), (1, 2, 2), MODEL, 1.0, held=held)
    one = batch.of_video(2)
    assert (one.batch, one.latent_shape) == (1, (1, 4, 3, 4, 6))
    assert (one.denoised == 2).all() and (one.noise == 12).all() and (one.final == 2).all()
    assert one.held is not None
    assert (one.held.latent == 22).all() and one.held.mask.tolist() == [[[[[2.0]]]]]
