"""Runs a model's feed-forward layers in pieces for the time of one forward pass."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management
from torch import Tensor

from ....s2flow_core.feed_forward import CutForward, chunks_for, hidden_bytes
from ..families.family import ModelFamily
from .forward_pass import ForwardPass

log = logging.getLogger(__name__)

BY_FREE_MEMORY, WHOLE = 0, 1


@dataclass
class FeedForwardChunks:
    """For the runs of one node. asked: how many pieces; 0 chooses by the memory that is free at each pass."""

    asked: int = BY_FREE_MEMORY
    # Bytes of a layer's hidden tensors -> the most pieces that memory asked for: a number that changed with
    # every pass would have a compiled model compiled again.
    _chosen: dict[int, int] = field(default_factory=dict, init=False)
    # Layer -> its forward in pieces: a compiled model is to meet the same functions in every pass.
    _cuts: dict[Any, CutForward] = field(default_factory=dict, init=False)

    def require_known(self, family: ModelFamily, model: Any) -> None:
        """Raises if pieces are asked for and nobody knows where the model keeps its feed-forward layers."""
        if self.asked > 1 and not family.feed_forward_paths(model):
            raise ValueError(
                f"feed_forward_chunks is {self.asked}, but the feed-forward layers of {family.name} are not "
                "known. Set it to 1."
            )

    def chunks_for(self, forward: ForwardPass, latent: Tensor) -> int:
        """In how many pieces the layers of a pass run. latent: what the model is given, (B, C, T, H, W)."""
        paths = forward.family.feed_forward_paths(forward.model)
        if not paths or self.asked != BY_FREE_MEMORY:
            return self.asked if paths else 1
        layer = forward.model.get_submodule(paths[0])
        hidden = hidden_bytes(layer, forward.batch * forward.layout.total, latent.element_size())
        free = comfy.model_management.get_free_memory(latent.device)
        chunks = chunks_for(hidden, free)
        if chunks > self._chosen.get(hidden, 1):
            log.info(
                "S²Flow runs the feed-forward layers in %d pieces of tokens: whole, they would take %.1f GiB "
                "of the %.1f that are free.",
                chunks,
                hidden / 2**30,
                free / 2**30,
            )
        chunks = self._chosen[hidden] = max(chunks, self._chosen.get(hidden, 1))
        return chunks

    @contextmanager
    def cut(self, forward: ForwardPass, chunks: int) -> Iterator[None]:
        """Cuts the layers of a model for the time of one pass, whatever ends it."""
        replaced: list[tuple[Any, Callable | None]] = []
        paths = forward.family.feed_forward_paths(forward.model) if chunks > 1 else ()
        try:
            for path in paths:
                layer = forward.model.get_submodule(path)
                replaced.append((layer, layer.__dict__.get("forward")))
                layer.forward = self._cut_forward(layer, chunks)
            yield
        finally:
            for layer, before in replaced:
                if before is None:
                    del layer.forward
                else:
                    layer.forward = before

    def _cut_forward(self, layer: Any, chunks: int) -> CutForward:
        cut = self._cuts.get(layer)
        if cut is None or cut.chunks != chunks or cut.whole != layer.forward:
            cut = self._cuts[layer] = CutForward(layer.forward, chunks)
        return cut
