"""Recorded pieces of a step give what plain ones do, on a CPU, where nothing is recorded, and on a GPU."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from training.piecewise import Workers
from training.precision import fast_precision
from training.recorded_loss import RecordedLosses

DEVICES = pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
        ),
    ],
)


@dataclass(frozen=True)
class Piece:
    x: Tensor


def pieces(device: str, seed: int) -> list[Piece]:
    """Of two shapes, in turns."""
    generator = torch.Generator().manual_seed(seed)
    return [Piece(torch.randn(count, 4, generator=generator).to(device)) for count in (3, 5, 3, 5, 5)]


@DEVICES
def test_the_mean_and_its_gradients_are_those_of_plain_steps(device: str):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2)).to(device)
    unused = nn.Parameter(torch.ones(3, device=device))
    parameters = [*model.parameters(), unused]

    def loss_of(piece: Piece) -> Tensor:
        with fast_precision(device):
            found = model(piece.x)
        return (found.float() - torch.arange(2.0)[0]).square().mean()

    recorded = RecordedLosses(loss_of, parameters)
    for seed in range(3):  # the second time nothing is recorded anew
        drawn = pieces(device, seed)
        plain = [lambda piece=piece: loss_of(piece) for piece in drawn]
        results = []
        for compute in (
            lambda drawn=drawn: recorded.mean_loss(drawn),
            lambda plain=plain: Workers(1).mean_loss(plain, parameters),
        ):
            mean = compute()
            results.append([mean, *(parameter.grad for parameter in model.parameters())])
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other)
        with torch.no_grad():  # as an optimizer's step, which the recording must see
            for parameter in model.parameters():
                parameter.mul_(1.5)
    assert len(recorded.recordings) == 2


def test_after_a_refusal_nothing_is_recorded_any_more(monkeypatch, caplog):
    model = nn.Linear(4, 2)
    recorded = RecordedLosses(lambda piece: model(piece.x).square().mean(), list(model.parameters()))
    recorded.refused, tried = False, []

    def refuse(kept: Piece) -> None:
        tried.append(kept.x.shape)
        try:
            raise RuntimeError("operation not permitted when stream is capturing")
        except RuntimeError:
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904

    monkeypatch.setattr(recorded, "recorded", refuse)
    for seed in range(2):
        drawn = pieces("cpu", seed)
        expected = torch.stack([model(piece.x).square().mean() for piece in drawn]).mean()
        torch.testing.assert_close(recorded.mean_loss(drawn), expected.detach())
    assert tried == [(3, 4)]
    assert "not permitted" in caplog.text
