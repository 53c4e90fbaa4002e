"""Our Muon against torch's, which works in bfloat16."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.muon import Muon, orthogonalised, step_of


@pytest.mark.parametrize("shape", [(16, 48), (64, 16), (32, 32)])
def test_steps_agree_with_torch(shape):
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(shape))
    theirs = nn.Parameter(ours.detach().clone())
    muon = Muon([ours])
    reference = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    start = ours.detach().clone()
    for _ in range(4):
        gradient = torch.randn(shape)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        muon.step(0.01)
        reference.step()
    moved = (theirs - start).norm()
    assert moved > 0
    assert (ours - theirs).norm() < 0.02 * moved


def test_singular_values_come_near_one():
    matrices = torch.randn(2, 24, 60, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalised(matrices))
    assert 0.6 < values.min() <= values.max() < 1.3


def test_a_matrix_without_gradient_stays():
    matrix = nn.Parameter(torch.ones(4, 4))
    Muon([matrix]).step(0.1)
    assert torch.equal(matrix, torch.ones(4, 4))


@pytest.mark.parametrize("shape", [(8, 12), (12, 8)])
def test_matrices_moved_together_move_as_each_alone(shape):
    def matrices() -> tuple[list[nn.Parameter], list[torch.Tensor]]:
        generator = torch.Generator().manual_seed(2)
        drawn = torch.randn(3, 3, *shape, generator=generator)
        found = [nn.Parameter(one.clone()) for one in drawn[0]]
        for matrix, gradient in zip(found, drawn[1], strict=True):
            matrix.grad = gradient.clone()
        return found, [one.clone() for one in drawn[2]]

    together, alone = matrices(), matrices()
    step_of(*together, 0.1)
    for matrix, momentum in zip(*alone, strict=True):
        step_of([matrix], [momentum], 0.1)
    for some, others in zip(together, alone, strict=True):
        for one, other in zip(some, others, strict=True):
            torch.testing.assert_close(one, other)
    assert all(matrix.grad is None for matrix in together[0])
