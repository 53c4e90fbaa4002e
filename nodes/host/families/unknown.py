"""A video model of no known family: it runs with the attention it has."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....s2flow_core.windows.grid import Triple
from .family import BlockKey, ModelFamily, TokenLayout, patched_grid


class UnknownVideoModel(ModelFamily):
    """Enough for the low-resolution run and the solver, which do not look into attention."""

    model_class = ""
    streams = (1, 2)

    def __init__(self, model: Any):
        self.name = type(model).__name__

    def matches(self, model: Any) -> bool:
        return type(model).__name__ == self.name

    def patch(self, model: Any) -> Triple:
        # Nearly every video transformer has it, and a size that fits it fits patches of one cell too.
        return (1, 2, 2)

    def heads(self, model: Any) -> int:
        return 0

    def blocks(self, model: Any) -> list[BlockKey]:
        return []

    def attention_paths(self, model: Any) -> list[str]:
        return []

    def layout(self, model: Any, latent: Tensor, inputs: dict[str, Any]) -> TokenLayout:
        return TokenLayout(0, patched_grid(latent, self.patch(model)))


# Models that are known to ask for attention in a way that no window fits, and what that is.
ALWAYS_DENSE = {
    "WanAnimate2Model": "Wan Animate 2 asks for attention frame by frame, each frame for other keys",
}


def why_dense(model: Any) -> str | None:
    """Why attention of a model of no family stays as it is; None if nothing is known of it."""
    return next(
        (ALWAYS_DENSE[base.__name__] for base in type(model).__mro__ if base.__name__ in ALWAYS_DENSE), None
    )
