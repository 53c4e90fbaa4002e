"""Runs a model's feed-forward layers in pieces for the time of one forward pass."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ....s2flow_core.feed_forward import chunks_for, cut_forward, hidden_bytes
from ..families.family import ModelFamily
from .forward_pass import ForwardPass

log = logging.getLogger(__name__)

BY_FREE_MEMORY, WHOLE = 0, 1


@dataclass
class FeedForwardChunks:
    """For the runs of one node. asked: how many pieces; 0 chooses by the memory that is free at each pass."""

    asked: int = BY_FREE_MEMORY
    # (device, bytes of a layer's hidden tensors) -> the most pieces that memory asked for in this run: a
    # number that changed with every pass would have a compiled model compiled again.
    _chosen: dict[tuple[torch.device, int], int] = field(default_factory=dict, init=False)

    def begin_run(self) -> None:
        """What memory another run lacked does not count."""
        self._chosen.clear()

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
        layer, tokens = forward.model.get_submodule(paths[0]), forward.batch * forward.layout.total
        hidden = hidden_bytes(layer, tokens, latent.element_size())
        free = comfy.model_management.get_free_memory(latent.device)
        kind = latent.device, hidden
        before = self._chosen.get(kind, 1)
        chunks = self._chosen[kind] = max(before, chunks_for(hidden, free, forward.layout.total))
        if chunks > before:
            log.info(
                "S²Flow runs the feed-forward layers in %d pieces of tokens: whole, they would take %.1f GiB "
                "of the %.1f that are free.",
                chunks,
                hidden / 2**30,
                free / 2**30,
            )
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
                layer.forward = cut_forward(layer.forward, chunks)
            yield
        finally:
            for layer, before in replaced:
                if before is None:
                    del layer.forward
                else:
                    layer.forward = before
