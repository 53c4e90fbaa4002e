"""A training goes on where it stopped, and through a checkpoint that cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import Linear

from training.checkpoints import read_average
from training.loop import Schedule, train
from training.optimizers import AdamW, MuonWithAdamW


def test_a_training_stopped_half_way_ends_where_an_unbroken_one_does(tmp_path: Path):
    def run(steps: int, checkpoint: Path) -> torch.Tensor:
        torch.manual_seed(0)
        model = Linear(4, 1)

        def loss_of_step(step: int) -> dict[str, torch.Tensor]:
            x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
            return {"loss": (model(x) - x.sum(dim=1, keepdim=True)).square().mean()}

        # A constant rate, so that the number of steps does not change the steps before.
        schedule = Schedule(steps, 1e-2, decay_share=0.0)
        optimizer = AdamW(list(model.parameters()))
        trained = train("test", model, optimizer, loss_of_step, schedule, checkpoint)
        return trained.get_parameter("weight")

    unbroken = run(6, tmp_path / "whole.pt")
    run(3, tmp_path / "parts.pt")
    assert torch.equal(run(6, tmp_path / "parts.pt"), unbroken)


class Stopped(Exception):
    pass


def test_a_training_stopped_within_a_step_ends_where_an_unbroken_one_does(tmp_path: Path):
    """With Muon, at a rate that warms up and decays."""

    def run(checkpoint: Path, stop_at: int | None = None) -> torch.nn.Module:
        torch.manual_seed(0)
        model = torch.nn.Sequential(Linear(6, 8), torch.nn.SiLU(), Linear(8, 2))
        parameters = list(model.parameters())

        def loss_of_step(step: int) -> dict[str, torch.Tensor]:
            if step == stop_at:
                raise Stopped
            x = torch.randn(4, 6, generator=torch.Generator().manual_seed(step))
            return {"loss": (model(x) - x[:, :2]).square().mean()}

        schedule = Schedule(steps=7, learning_rate=0.05, warmup=3, checkpoint_seconds=0.0)
        optimizer = MuonWithAdamW(parameters, {p for p in parameters if p.ndim == 2})
        return train("test", model, optimizer, loss_of_step, schedule, checkpoint)

    unbroken = run(tmp_path / "whole.pt")
    for stop in (2, 5):
        with pytest.raises(Stopped):
            run(tmp_path / "parts.pt", stop)
    for ours, theirs in zip(run(tmp_path / "parts.pt").parameters(), unbroken.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_average_of_a_running_training_can_be_read(tmp_path: Path):
    model = Linear(2, 1)
    loss = {"loss": model(torch.ones(1, 2)).sum()}
    optimizer = AdamW(list(model.parameters()))
    average = train("test", model, optimizer, lambda _: loss, Schedule(1, 1e-3), tmp_path / "c.pt")
    assert torch.equal(read_average(tmp_path / "c.pt")["weight"], average.get_parameter("weight"))
    with pytest.raises(SystemExit, match=r"none\.pt is missing"):
        read_average(tmp_path / "none.pt")


def test_a_checkpoint_of_other_settings_or_of_more_steps_is_refused(tmp_path: Path):
    model = Linear(2, 1)

    def run(steps: int, rate: str) -> None:
        optimizer = AdamW(list(model.parameters()))
        schedule = Schedule(steps, 1e-3, decay_share=0.0)
        loss = {"loss": model(torch.ones(1, 2)).sum()}
        train("test", model, optimizer, lambda _: loss, schedule, tmp_path / "c.pt", settings={"rate": rate})

    run(1, "slow")
    with pytest.raises(SystemExit, match="rate: slow then, fast now"):
        run(1, "fast")
    with pytest.raises(SystemExit, match="steps: 1 done, 0 asked for"):
        run(0, "slow")


def test_a_training_goes_on_when_a_checkpoint_cannot_be_written(tmp_path: Path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    model = Linear(2, 1)
    monkeypatch.setattr(torch, "save", full)
    schedule = Schedule(3, 1e-3, checkpoint_seconds=0.0)
    optimizer = AdamW(list(model.parameters()))
    train(
        "test",
        model,
        optimizer,
        lambda step: {"loss": model(torch.ones(1, 2)).sum()},
        schedule,
        tmp_path / "c.pt",
    )
    assert "No space left on device" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_loss_without_gradients_stops_the_training(tmp_path: Path):
    model = Linear(4, 1)
    optimizer = AdamW(list(model.parameters()))
    with pytest.raises(RuntimeError, match="no gradients"):
        train(
            "a trial",
            model,
            optimizer,
            lambda step: {"loss": model(torch.ones(1, 4)).detach().square().mean()},
            Schedule(steps=2, learning_rate=0.1),
            tmp_path / "checkpoint.pt",
        )
