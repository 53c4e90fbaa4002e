"""Pieces of a step that threads compute give what one after the other would."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from training.muon import Muon
from training.piecewise import Workers


def losses_of(layer: nn.Linear, unused: nn.Parameter, count: int = 5):
    """Losses of a few pieces; only the last one reaches `unused`."""
    inputs = torch.randn(count, 3, 4, generator=torch.Generator().manual_seed(1))

    def loss(index: int) -> Tensor:
        found = layer(inputs[index]).square().mean() * (index + 1)
        return found + unused.sum() if index == count - 1 else found

    return [lambda index=index: loss(index) for index in range(count)]


def gradients_of(compute: Callable[[], Tensor], parameters: list[nn.Parameter]) -> list[Tensor]:
    for parameter in parameters:
        parameter.grad = None
    loss = compute()
    if loss.requires_grad:
        loss.backward()
    found = [parameter.grad for parameter in parameters]
    assert all(gradient is not None for gradient in found)
    return [gradient.clone() for gradient in found if gradient is not None]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_mean_loss_and_its_gradients_are_those_of_one_thread(threads: int):
    torch.manual_seed(0)
    layer, unused = nn.Linear(4, 2), nn.Parameter(torch.ones(3))
    parameters, pieces = [*layer.parameters(), unused], losses_of(layer, unused)
    plain = torch.stack([piece() for piece in pieces]).mean()
    expected = gradients_of(lambda: plain, parameters)
    torch.testing.assert_close(Workers(threads).mean_loss(pieces, parameters), plain.detach())
    found = gradients_of(lambda: Workers(threads).mean_loss(pieces, parameters), parameters)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_a_parameter_that_no_piece_reaches_gets_no_gradient():
    layer, unused = nn.Linear(4, 2), nn.Parameter(torch.ones(3))
    Workers(2).mean_loss(losses_of(layer, unused)[:-1], [*layer.parameters(), unused])
    assert unused.grad is None and layer.weight.grad is not None


def test_the_result_does_not_depend_on_which_thread_is_faster():
    layer, unused = nn.Linear(4, 2), nn.Parameter(torch.ones(3))
    parameters, pieces = [*layer.parameters(), unused], losses_of(layer, unused)
    last_done = threading.Event()

    def first() -> Tensor:
        assert last_done.wait(10)
        return pieces[0]()

    def last() -> Tensor:
        last_done.set()
        return pieces[-1]()

    one = gradients_of(lambda: Workers(1).mean_loss(pieces, parameters), parameters)
    other = gradients_of(lambda: Workers(5).mean_loss([first, *pieces[1:-1], last], parameters), parameters)
    assert all(map(torch.equal, one, other))


def test_an_error_in_a_piece_is_raised():
    def broken() -> Tensor:
        raise ValueError("the clip is empty")

    with pytest.raises(ValueError, match="the clip is empty"):
        Workers(2).mean_loss([broken, broken], [nn.Parameter(torch.ones(1))])


def test_muon_with_workers_takes_the_same_steps():
    def matrices() -> list[nn.Parameter]:
        generator = torch.Generator().manual_seed(3)
        found = [nn.Parameter(torch.randn(4, width, generator=generator)) for width in (3, 5, 7)]
        for matrix in found[:2]:  # the last one has no gradient and stays
            matrix.grad = torch.randn(matrix.shape, generator=generator)
        return found

    alone, shared = matrices(), matrices()
    Muon(alone).step(0.1)
    Muon(shared, Workers(2)).step(0.1)
    assert all(map(torch.equal, alone, shared))
    assert all(matrix.grad is None for matrix in shared)
