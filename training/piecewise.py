"""A step's loss and gradients piece by piece, several pieces at a time.

On a CPU two threads with a piece each are faster than one piece that two threads share: most operations of a
small model are too short to be shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor, nn

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """Threads that each compute alone; torch must be told to use one thread (`torch.set_num_threads(1)`)."""

    def __init__(self, count: int):
        self.pool = ThreadPoolExecutor(count)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """The results in the order of the items; the first error is raised."""
        return list(self.pool.map(function, items))

    def mean_loss(self, pieces: Sequence[Callable[[], Tensor]], parameters: list[nn.Parameter]) -> Tensor:
        """The mean of the pieces' losses, whose gradients are then in the parameters.

        They are summed in the pieces' order, so that a step gives the same whichever thread was faster. A
        parameter that no piece reaches has none.
        """

        def computed(piece: Callable[[], Tensor]) -> tuple[Tensor, tuple[Tensor | None, ...]]:
            loss = piece()
            return loss.detach(), torch.autograd.grad(loss, parameters, allow_unused=True)

        losses, gradients = zip(*self.map(computed, pieces), strict=True)
        for parameter, of_one in zip(parameters, zip(*gradients, strict=True), strict=True):
            parameter.grad = _mean(of_one, len(pieces))
        return torch.stack(losses).mean()


def _mean(gradients: Sequence[Tensor | None], count: int) -> Tensor | None:
    """Pieces that do not reach a parameter count as zero; None where none does."""
    present = [gradient for gradient in gradients if gradient is not None]
    return sum(present[1:], present[0]) / count if present else None
