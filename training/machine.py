"""Where a training of the small models computes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

MOST_RENDERERS = 8


@dataclass(frozen=True)
class Machine:
    """device: "cpu" or "cuda". threads: pieces of a step that a CPU computes at a time. renderers: processes
    that draw clips beside a GPU, each a clip ahead; 0 draws them in this one.
    """

    device: str = "cpu"
    threads: int = 1
    renderers: int = 0

    @property
    def on_gpu(self) -> bool:
        return self.device != "cpu"

    def drawn(self, clips: Dataset, numbers: range) -> Iterator[Tensor]:
        """The clips of these numbers in their order, as the dataset draws each."""
        ahead = 1 if self.renderers else None  # in shared memory, of which containers have little
        return iter(
            DataLoader(
                clips, batch_size=None, sampler=numbers, num_workers=self.renderers, prefetch_factor=ahead
            )
        )


CPU = Machine()


def machine_of(device: str | None, threads: int | None) -> Machine:
    """device: None takes the GPU where there is one. threads: of a CPU; beside a GPU, processes that draw."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu":
        return Machine(device, threads or torch.get_num_threads())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(device, 1, renderers=threads or min(max(cores - 2, 1), MOST_RENDERERS))
