"""Trains a model with the temporal windows that the Refiner Sampler will run it with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from einops import rearrange
from torch import Tensor

from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.attention.temporal_windows import shifted_window_attention, window_of_layer
from s2flow_core.windows.grid import TokenGrid, Triple
from training.vae_clip import HostModule


def window_blocks(model: HostModule, frames: int) -> None:
    """Gives every block windows of `frames` latent frames, shifted in every other one.

    The blocks themselves are wrapped, inside gradient checkpointing, so that a recomputed block sees the same
    windows as the first time.
    """
    shape: list[Triple] = [(1, 1, 1)]

    def remember(_: Any, arguments: tuple) -> None:
        sides = (
            -(-side // step) for side, step in zip(arguments[0].shape[-3:], model.patch_size, strict=True)
        )
        t, h, w = sides
        shape[0] = (t, h, w)

    model.register_forward_pre_hook(remember)
    for layer, block in enumerate(model.blocks):
        block.forward = windowed(block.forward, layer, frames, shape)


def windowed(forward: Callable, layer: int, frames: int, shape: list[Triple]) -> Callable:
    """A block's forward whose self-attention over the video goes through a window."""
    window = window_of_layer(layer, frames)

    def override(original: Callable, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        t, height, width = shape[0]
        heads = kwargs["heads"] if "heads" in kwargs else args[0]
        if not q.shape[1] == k.shape[1] == t * height * width:
            return original(q, k, v, *args, **kwargs)  # cross-attention to the text
        q, k, v = (rearrange(x, "b n (heads d) -> b heads n d", heads=heads) for x in (q, k, v))
        out = shifted_window_attention(
            q, k, v, VideoSequence(TokenGrid(shape[0], (1, 1, 1))), window
        )  # (B, heads, tokens, dim)
        return rearrange(out, "b heads n d -> b n (heads d)")

    def run(*args: Any, transformer_options: dict | None = None, **kwargs: Any) -> Tensor:
        options = (transformer_options or {}) | {"optimized_attention_override": override}
        return forward(*args, transformer_options=options, **kwargs)

    return run
