"""The training loop: a run that was stopped goes on as if it had not been."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from training.checkpoints import read_average
from training.loop import Schedule, train
from training.optimizers import MuonWithAdamW

SCHEDULE = Schedule(steps=7, learning_rate=0.05, warmup=3, checkpoint_seconds=0.0)


class Stopped(Exception):
    pass


def run(checkpoint, stop_at: int | None = None, settings: dict[str, str] | None = None) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, 2))
    parameters = list(model.parameters())
    optimizer = MuonWithAdamW(parameters, {p for p in parameters if p.ndim == 2})

    def loss_of_step(step: int) -> dict[str, Tensor]:
        if step == stop_at:
            raise Stopped
        x = torch.randn(4, 6, generator=torch.Generator().manual_seed(step))
        return {"loss": (model(x) - x[:, :2]).square().mean()}

    return train("test", model, optimizer, loss_of_step, SCHEDULE, checkpoint, settings=settings)


def test_a_stopped_run_ends_like_an_unbroken_one(tmp_path):
    unbroken = run(tmp_path / "unbroken.pt")
    for stop in (2, 5):
        with pytest.raises(Stopped):
            run(tmp_path / "stopped.pt", stop)
    stopped = run(tmp_path / "stopped.pt")
    for ours, theirs in zip(stopped.parameters(), unbroken.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_average_of_a_running_training_can_be_read(tmp_path):
    average = run(tmp_path / "run.pt")
    saved = read_average(tmp_path / "run.pt")
    assert all(torch.equal(saved[name], value) for name, value in average.state_dict().items())
    with pytest.raises(SystemExit, match=r"none\.pt is missing"):
        read_average(tmp_path / "none.pt")


def test_another_trainings_checkpoint_is_refused(tmp_path):
    run(tmp_path / "run.pt", settings={"--start": "a"})
    with pytest.raises(SystemExit, match="--start: a then, b now"):
        run(tmp_path / "run.pt", settings={"--start": "b"})
