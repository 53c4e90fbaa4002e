"""One call of a diffusion model: its tokens, and which attention call belongs to which layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .token_layout import ModelFamily, TokenLayout


@dataclass
class ForwardPass:
    """Follows the model through its blocks.

    ComfyUI lets every block be wrapped (`patches_replace`), in all versions; counting the attention calls
    of a whole pass instead would go wrong as soon as another node leaves a block out.
    """

    family: ModelFamily
    model: Any
    layout: TokenLayout
    sigma: float
    conditions: int  # chunks of the batch, one for each condition
    positive: int | None  # the chunk of the positive condition, if it is in this pass
    block: int | None = None  # that runs now
    last_block: int | None = None  # that ran before, while none runs
    calls: int = 0  # of attention since the block began or ended

    @contextmanager
    def inside(self, block: int) -> Iterator[None]:
        """While the block itself runs."""
        self.block, self.calls = block, 0
        try:
            yield
        finally:
            self.leave(block)

    def leave(self, block: int) -> None:
        """The block has run, or another node has answered in its place."""
        self.block, self.last_block, self.calls = None, block, 0

    def layer_of_next_call(self) -> int | None:
        """The layer of the call that comes now; None unless it is a self-attention over the video."""
        calls, self.calls = self.calls, self.calls + 1
        if self.block is not None:
            return self.block if calls == 0 else None  # every architecture begins a block with it
        if self.last_block is not None:
            return self.family.layer_after(self.model, self.last_block, calls)
        return None


def named_arguments(function: Callable, args: tuple, kwargs: dict) -> dict[str, Any]:
    """A diffusion model's arguments by name; every model has them in another order."""
    given = inspect.signature(function).bind(*args, **kwargs)
    names = dict(given.arguments)
    for parameter in given.signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            names |= names.pop(parameter.name, {})
    return names


def positive_chunk(options: dict, positive: Collection) -> int | None:
    """Which chunk of the batch belongs to the positive condition.

    positive: ids of the guider's positive conditions. Not every guider gives them the first place in
    `cond_or_uncond`; that is asked only where conditions carry no ids.
    """
    ids = options.get("uuids")
    if ids and positive:
        return next((chunk for chunk, condition in enumerate(ids) if condition in positive), None)
    places = options["cond_or_uncond"]
    return places.index(0) if 0 in places else None
