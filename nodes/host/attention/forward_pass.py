"""One call of a diffusion model: its tokens, and which attention call belongs to which layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ....s2flow_core.attention.known_masks import KnownMasks
from ..families.family import ModelFamily, TokenLayout


@dataclass
class ForwardPass:
    """Follows the model through its blocks.

    ComfyUI lets every block be wrapped (`patches_replace`), in all versions; counting the attention calls
    of a whole pass instead would go wrong as soon as another node leaves a block out. Where a pack runs the
    blocks without asking for those wrappers, the number that the model publishes stands in.
    """

    family: ModelFamily
    model: Any
    layout: TokenLayout
    sigma: float
    batch: int  # videos of the pass, over all conditions; packs add rows of their own behind them
    conditions: int  # chunks of the batch, one for each condition
    positive: int | None  # the chunk of the positive condition, if it is in this pass
    crossed: frozenset[int] = frozenset()  # numbers of keys that cross-attention may have
    frames: tuple[int, ...] | None = None  # of the slice under context windows, None for the whole video
    block: int | None = None  # that runs now
    last_block: int | None = None  # that ran before, while none runs
    calls: int = 0  # of attention since the block began or ended
    masks: KnownMasks = field(default_factory=KnownMasks)  # which the layers share

    def enter(self, block: int) -> None:
        self.block, self.calls = block, 0

    def leave(self, block: int) -> None:
        """The block has run, or another node has answered in its place."""
        self.block, self.last_block, self.calls = None, block, 0

    def layer_of_next_call(self, q: Tensor, k: Tensor, options: dict[str, Any]) -> int | None:
        """The layer of the call that comes now; None unless it is a self-attention of a block.

        q, k: (..., tokens, channels). options: the call's transformer options. Further self-attentions of a
        block, as negative guidance makes them, belong to its layer too.
        """
        calls, self.calls = self.calls, self.calls + 1
        if not self.family.is_self_attention(self.model, q, k, self.layout, first=calls == 0):
            return None
        # Text as long as the video: shapes do not tell cross-attention then, but every block begins with
        # its self-attention.
        told_apart = k.shape[-2] not in self.crossed
        if self.block is not None:
            return self.block if told_apart or calls == 0 else None
        if self.last_block is not None:
            after = self.family.layer_after(self.model, self.last_block)
            return after if told_apart or calls % 2 == 0 else None
        return self.family.published_layer(self.model, options) if told_apart else None

    def contradiction(self, tokens: int, options: dict[str, Any]) -> str | None:
        """Where a call, or what the model publishes about itself, is not as known here; None if it is."""
        if self.layout.with_total(tokens) is None:
            return f"{self.family.name} attends to {tokens} tokens here instead of {self.layout.total}"
        published = self.family.published_layer(self.model, options)
        if self.block is not None and published is not None and published != self.block:
            return f"layer {self.block} says that it is layer {published}"
        grid = options.get("grid_sizes")
        if grid is not None and len(grid) == 3:
            frames, height, width = (int(side) for side in grid)
            # References that are added as frames may count there, and are no part of the grid here.
            if (height, width) != self.layout.grid[1:] or frames < self.layout.grid[0]:
                return f"the model says that it has {(frames, height, width)} tokens, not {self.layout.grid}"
        return None

    def positive_rows(self) -> slice | None:
        """The part of the batch that belongs to the positive condition."""
        if self.positive is None:
            return None
        size = self.batch // self.conditions
        return slice(self.positive * size, (self.positive + 1) * size)


def named_arguments(function: Callable, args: tuple, kwargs: dict) -> dict[str, Any]:
    """A diffusion model's arguments by name; every model has them in another order."""
    given = inspect.signature(function).bind(*args, **kwargs)
    names = dict(given.arguments)
    for parameter in given.signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            names |= names.pop(parameter.name, {})
    return names


def crossed_lengths(inputs: dict[str, Any]) -> frozenset[int]:
    """How many keys the model's arguments bring for cross-attention: text, and tokens of a picture."""
    given = (inputs.get(name) for name in ("context", "clip_fea", "clip_fea_ref"))
    text, *pictures = (x.shape[1] if isinstance(x, Tensor) and x.ndim > 1 else 0 for x in given)
    return frozenset({text, *pictures, sum(pictures)} - {0})


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
