"""Calls whose heads are shared among "devices" of the CPU, and what they must give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from s2flow_core.attention.call import VisitedKeys
from s2flow_core.attention.choice import BackendChooser
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.attention.sharing.head_sharing import HeadSharing
from s2flow_core.attention.window_attention import HeadWindows, window_attention
from s2flow_core.windows.grid import TokenGrid

MAIN = torch.device("cpu")
GRID = TokenGrid((4, 7, 8), (2, 4, 4))


@dataclass(frozen=True)
class Call:
    """One call of random numbers. mask: some keys are hidden."""

    heads: int
    dtype: torch.dtype = torch.float32
    prefix: int = 0
    suffix: int = 0
    mask: bool = False
    tail: bool = False
    grid: TokenGrid = GRID
    dim: int = 64

    def qkv(self) -> tuple[Tensor, Tensor, Tensor]:
        """(B, heads, tokens, dim) each, tokens before heads in memory, as models have them."""
        return _random(self.heads, self.sequence().tokens, self.dim, self.dtype)

    def sequence(self) -> VideoSequence:
        tokens = self.prefix + self.grid.tokens + self.suffix
        generator = torch.Generator().manual_seed(1)
        keep = torch.rand(2, tokens, generator=generator) > 0.3 if self.mask else None
        return VideoSequence(self.grid, self.prefix, self.suffix, keep)

    def windows(self) -> HeadWindows:
        generator = torch.Generator().manual_seed(2)
        sides = [torch.randint(1, count + 1, (self.heads,), generator=generator) for count in self.grid.tiles]
        return HeadWindows(torch.stack(sides, dim=-1), self.tail)

    def compute(
        self, backend: str, sharing: HeadSharing | None = None, stats: VisitedKeys | None = None
    ) -> Tensor:
        by_device = {} if sharing is None else {MAIN: sharing}
        chooser = BackendChooser(backend, sharing=by_device)
        return window_attention(*self.qkv(), self.sequence(), self.windows(), backend=chooser, stats=stats)


@lru_cache(maxsize=1)
def _random(heads: int, tokens: int, dim: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(heads)
    q, k, v = (torch.randn(2, tokens, heads, dim).to(dtype).transpose(1, 2) for _ in range(3))
    return q, k, v


@contextmanager
def sharing_of(devices: int, **settings: tuple[type[BaseException], ...]) -> Iterator[HeadSharing]:
    """The main device and the others, all of the CPU."""
    sharing = HeadSharing(MAIN, [torch.device("cpu", number) for number in range(1, devices)], **settings)
    try:
        yield sharing
    finally:
        sharing.close()


def failing_at(call: int, function: Callable, broken: Callable) -> Callable:
    """`function` that is `broken` from its call number `call` on, the first being 1."""
    seen = []

    def counting(*given: object, **named: object) -> object:
        seen.append(1)
        return (broken if len(seen) >= call else function)(*given, **named)

    return counting
