"""What a mask says, asked of the device once: every answer that is read back makes the GPU wait."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from torch import Tensor

_Answer = TypeVar("_Answer")


class KnownMasks:
    """Answers about masks, for as long as their owner lives: one forward pass, whose layers share a mask.

    Masks must not change meanwhile; they are held, so that no other one can pass for them.
    """

    def __init__(self) -> None:
        self._answers: dict[tuple[int, Hashable], tuple[Tensor, Any]] = {}

    def once(self, mask: Tensor, question: Hashable, read: Callable[[], _Answer]) -> _Answer:
        """What `read` answers about a mask, or answered when the same question was asked before."""
        key = id(mask), question
        if key not in self._answers:
            self._answers[key] = mask, read()
        return self._answers[key][1]
