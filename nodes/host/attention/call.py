"""One attention call: as ComfyUI makes it, and as our hooks and the core see it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ....s2flow_core.attention.call import InstalledAttention
from ....s2flow_core.attention.known_masks import KnownMasks
from ....s2flow_core.attention.sequence import VideoSequence
from ....s2flow_core.windows.grid import TokenGrid
from ..families.family import TokenLayout
from .forward_pass import ForwardPass


@dataclass(frozen=True)
class SelfAttentionCall:
    """One self-attention over the video, in the layout (B, heads, tokens, dim)."""

    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor | None
    layer: int
    layout: TokenLayout
    sigma: float
    positive: slice | None  # the part of the batch that belongs to the positive condition
    installed: InstalledAttention | None = None  # what computes the call if nobody answers it
    asked_whole: bool = True  # whether every query is of this call, and none of another one
    frames: tuple[int, ...] | None = None  # of the slice under context windows, None for the whole video
    masks: KnownMasks = field(default_factory=KnownMasks)  # of the forward pass

    def sequence(self, grid: TokenGrid) -> VideoSequence:
        """Its tokens as the core takes them; grid: the video's tokens and tiles."""
        return VideoSequence(grid, self.layout.prefix, self.layout.suffix, self.mask, masks=self.masks)


@dataclass(frozen=True)
class HostCall:
    """The arguments of ComfyUI's attention function.

    q, k, v: (B, tokens, heads·dim), or (B, heads, tokens, dim) with `skip_reshape` in `named`. mask: a
    tensor, or in later versions an object that describes one. more, named: what the model gave besides.
    original: ComfyUI's function; below: the override of another pack, or None.
    """

    original: Callable
    below: Callable | None
    q: Tensor
    k: Tensor
    v: Tensor
    heads: int
    mask: Any
    more: tuple
    named: dict[str, Any]

    @classmethod
    def of(
        cls,
        original: Callable,
        below: Callable | None,
        qkv: tuple[Tensor, Tensor, Tensor],
        heads: int,
        more: tuple,
        named: dict[str, Any],
    ) -> HostCall:
        """From an override's arguments, where the mask may stand at its place or by its name."""
        named = dict(named)
        mask = more[0] if more else named.pop("mask", None)
        return cls(original, below, *qkv, heads, mask, more[1:], named)

    def beyond_us(self) -> str | None:
        """What of this call windows and measurements do not know how to follow; None if there is nothing."""
        if self.mask is not None and not isinstance(self.mask, Tensor):
            # Later versions describe the mask of LTX-Video's guide frames by an object.
            return f"passes a {type(self.mask).__name__} as mask"
        if self.named.get("enable_gqa", False):
            return "lets several heads share their keys (enable_gqa)"
        scale = self.named.get("scale")
        dim = self.q.shape[-1] if self.named.get("skip_reshape", False) else self.q.shape[-1] // self.heads
        if scale is not None and not math.isclose(scale, dim**-0.5, rel_tol=1e-4):
            return f"scales its logits by {scale:g} instead of {dim**-0.5:g}"
        return None

    def self_attention(self, forward: ForwardPass, layer: int, layout: TokenLayout) -> SelfAttentionCall:
        """The call as the hooks see it; tokens whose queries another call asks get queries of zeros."""
        q, k, v = (self.by_head(x) for x in (self.q, self.k, self.v))
        missing = k.shape[2] - q.shape[2]
        return SelfAttentionCall(
            q=torch.nn.functional.pad(q, (0, 0, 0, missing)) if missing else q,
            k=k,
            v=v,
            mask=self.mask,
            layer=layer,
            layout=layout,
            sigma=forward.sigma,
            positive=forward.positive_rows(),
            installed=self.installed(),
            asked_whole=missing == 0,
            frames=forward.frames,
            masks=forward.masks,
        )

    def by_head(self, x: Tensor) -> Tensor:
        """-> (B, heads, tokens, dim)"""
        if self.named.get("skip_reshape", False):
            return x
        return rearrange(x, "b n (h d) -> b h n d", h=self.heads)

    def as_returned(self, out: Tensor) -> Tensor:
        """(B, heads, tokens, dim) -> as the model expects it, for the queries that it gave"""
        out = out[:, :, : self.q.shape[-2]]
        return out if self.named.get("skip_output_reshape", False) else rearrange(out, "b h n d -> b n (h d)")

    def installed(self) -> InstalledAttention:
        """The attention below us as a function of q, k and v in (B, heads, tokens, dim)."""
        named = self.named | {"skip_reshape": True, "skip_output_reshape": True}

        def attend(q: Tensor, k: Tensor, v: Tensor, key_bias: Tensor | None) -> Tensor:
            mask = None if key_bias is None else key_bias[:, None, None].to(q.dtype)  # (B, 1, 1, tokens)
            arguments = (q, k, v, q.shape[1], mask, *self.more)
            if self.below is None:
                return self.original(*arguments, **named)
            return self.below(self.original, *arguments, **named)

        name = name_of(self.below or self.original)
        # Some calls ask for more precision, and SageAttention then leaves them to torch.
        rounded = in_eight_bits(name) and self.named.get("low_precision_attention", True) is not False
        return InstalledAttention(name, attend, rounded, shareable=self.below is None)


def name_of(function: Callable) -> str:
    while isinstance(function, partial):
        function = function.func
    kind = function if hasattr(function, "__qualname__") else type(function)
    return f"{kind.__module__}.{kind.__qualname__}"


_EIGHT_BITS = re.compile(r"sageatt|(?<![a-z])sage|sol_attn|(int8|fp8)[^.]*$")
"""SageAttention by any pack, comfy-kitchen's sol_attn; int8 and fp8 in a function's own name alone, because
packs that load such weights have them in theirs. Nobody publishes it, so names must tell."""


def in_eight_bits(name: str) -> bool:
    """Whether the attention of this name computes in eight bits or fewer."""
    return _EIGHT_BITS.search(name.lower()) is not None
