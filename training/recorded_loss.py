"""A step's loss and gradients on a GPU, recorded once for every shape and replayed.

A small model's kernels take less time than Python takes to start them: as CUDA graphs a step is several times
faster.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

Draw = TypeVar("Draw", bound=Any)
"""A dataclass of tensors on the GPU: all that one piece of a step is computed from."""

_WARM_UPS = 3


class RecordedLosses(Generic[Draw]):
    """The mean loss of draws, each computed by the recording of its shape.

    loss_of: reads nothing but the draw and the parameters.
    """

    def __init__(self, loss_of: Callable[[Draw], Tensor], parameters: list[nn.Parameter]):
        self.loss_of, self.parameters = loss_of, parameters
        self.sums = torch.cat([torch.zeros_like(parameter).flatten() for parameter in parameters])
        self.recordings: dict[tuple, Callable[[Draw], Tensor]] = {}
        self.refused = not self.sums.is_cuda

    def mean_loss(self, draws: Sequence[Draw]) -> Tensor:
        """The mean of the draws' losses, whose gradients are then in the parameters.

        They are put there by hand: a `backward` would leave nodes of another stream behind, and the next
        recording would fail by them.
        """
        for draw in draws:
            shape = shapes_of(draw)
            if shape not in self.recordings:
                self.recordings[shape] = self.recording(draw)
        self.sums.zero_()
        losses = [self.recordings[shapes_of(draw)](draw) for draw in draws]
        for parameter, gradient in zip(self.parameters, self.pieces_of(self.sums / len(draws)), strict=True):
            parameter.grad = gradient
        return torch.stack(losses).mean()

    def computed(self, draw: Draw) -> Tensor:
        """The loss of one draw; its gradients are added to the sums."""
        loss = self.loss_of(draw)
        found = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        for total, one in zip(self.pieces_of(self.sums), found, strict=True):
            if one is not None:
                total.add_(one)
        return loss.detach()

    def pieces_of(self, sums: Tensor) -> list[Tensor]:
        """Views of the sums, each of its parameter's shape."""
        pieces = sums.split([parameter.numel() for parameter in self.parameters])
        return [piece.view_as(one) for piece, one in zip(pieces, self.parameters, strict=True)]

    def recording(self, draw: Draw) -> Callable[[Draw], Tensor]:
        """Computes draws of this one's shape; without a recording off a GPU, or where one was refused."""
        if self.refused:
            return self.computed
        kept = replace(draw, **{name: value.clone() for name, value in vars(draw).items()})
        try:
            graph, loss = self.recorded(kept)
        except RuntimeError as problem:
            self.refused = True  # a failed recording keeps its memory, so one is enough
            first = problem.__context__ or problem
            log.warning("Steps are not recorded from here on, and slower: %s", str(first).splitlines()[0])
            return self.computed

        def replay(draw: Draw) -> Tensor:
            for name, value in vars(draw).items():
                getattr(kept, name).copy_(value)
            graph.replay()
            return loss.clone()

        return replay

    def recorded(self, kept: Draw) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """The graph that computes what lies in `kept`, and the loss that it writes."""
        device = self.sums.device
        beside = torch.cuda.Stream(device)
        beside.wait_stream(torch.cuda.current_stream(device))
        # What the model makes without naming a device would be copied from the CPU, which cannot be recorded.
        with torch.device(device), torch.cuda.stream(beside):
            for _ in range(_WARM_UPS):
                self.computed(kept)
        torch.cuda.current_stream(device).wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.device(device), torch.cuda.graph(graph):
            loss = self.computed(kept)
        return graph, loss


def shapes_of(draw: Any) -> tuple:
    return tuple(value.shape for value in vars(draw).values())
