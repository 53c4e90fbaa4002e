"""Sees every video self-attention call of one sampler run, and may answer it.

Two published hooks of ComfyUI carry it: a wrapper around the diffusion model
(which tokens, which sigma, which conditions) and
`optimized_attention_override` (q, k and v of each call). Both are put into a
copy of the model options, so nothing outside the run changes and nothing is
left behind; an override that another pack installed stays in the chain below.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
from einops import rearrange
from torch import Tensor

from .token_layout import ModelFamily, TokenLayout

log = logging.getLogger(__name__)

WRAPPER_KEY = "s2flow"


def transformer_options_of(args: tuple, kwargs: dict) -> dict:
    """The transformer options among a diffusion model's arguments; each model has its own place for them."""
    positional = next((argument for argument in args if isinstance(argument, dict)), {})
    return positional or kwargs.get("transformer_options") or {}


@dataclass
class ForwardPass:
    """One call of the diffusion model; counts its attention calls to tell the layer."""

    layout: TokenLayout
    layers: int
    calls_per_layer: int
    sigma: float
    conditions: list[int]  # one entry per chunk of the batch; 0 is the positive condition
    calls: int = 0
    self_attention_calls: int = 0


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
    conditions: list[int]

    def positive_rows(self) -> slice | None:
        """The part of the batch that belongs to the positive condition, if it is in this call."""
        if 0 not in self.conditions:
            return None
        size = self.q.shape[0] // len(self.conditions)
        first = self.conditions.index(0) * size
        return slice(first, first + size)


@dataclass
class SelfAttentionHook:
    """Base of the two hooks: one instance lives for one sampler run and owns that run's state."""

    family: ModelFamily
    model: Any  # the diffusion model
    forward_pass: ForwardPass | None = field(default=None, init=False)
    reasons: set[str] = field(default_factory=set, init=False)

    def attend(self, call: SelfAttentionCall, dense: Callable[[], Tensor]) -> Tensor | None:
        """Answers a call with (B, heads, tokens, dim), or None to leave it to the attention below."""
        raise NotImplementedError

    def attach(self, model_options: dict) -> dict:
        """A copy of the model options that runs through this hook."""
        options = comfy.model_patcher.create_model_options_clone(model_options)
        transformer_options = options.setdefault("transformer_options", {})
        below = transformer_options.get("optimized_attention_override")
        transformer_options["optimized_attention_override"] = self.override_above(below)
        comfy.patcher_extension.add_wrapper_with_key(
            comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL,
            WRAPPER_KEY,
            self.wrap_forward,
            options,
            is_model_options=True,
        )
        return options

    def fall_back(self, reason: str) -> None:
        """Logs once per run why attention stays what it was."""
        if reason not in self.reasons:
            self.reasons.add(reason)
            log.warning("S²Flow leaves attention unchanged: %s", reason)

    def wrap_forward(self, executor: Callable, *args: Any, **kwargs: Any) -> Any:
        outer = self.forward_pass
        self.forward_pass = self.describe_forward(args, kwargs)
        try:
            return executor(*args, **kwargs)
        finally:
            self.forward_pass = outer

    def describe_forward(self, args: tuple, kwargs: dict) -> ForwardPass | None:
        latent: Tensor = args[0]
        context = args[2] if len(args) > 2 else None
        options = transformer_options_of(args, kwargs)
        if "sigmas" not in options or "cond_or_uncond" not in options:
            self.fall_back("the sampler does not tell which sigma it is at")
            return None
        inputs = {"context": context} | kwargs
        return ForwardPass(
            layout=self.family.layout(self.model, latent, inputs),
            layers=self.family.layers(self.model),
            calls_per_layer=self.family.calls_per_layer(self.model),
            sigma=float(options["sigmas"].flatten()[0]),
            conditions=list(options["cond_or_uncond"]),
        )

    def override_above(self, below: Callable | None) -> Callable:
        def override(original: Callable, *args: Any, **kwargs: Any) -> Tensor:
            def dense() -> Tensor:
                if below is not None:
                    return below(original, *args, **kwargs)
                return original(*args, **kwargs)

            return self.answer(dense, *args, **kwargs)

        return override

    def answer(
        self,
        dense: Callable[[], Tensor],
        q: Tensor,
        k: Tensor,
        v: Tensor,
        heads: int,
        mask: Tensor | None = None,
        *_: Any,
        skip_reshape: bool = False,
        skip_output_reshape: bool = False,
        transformer_options: dict | None = None,
        **__: Any,
    ) -> Tensor:
        """Turns ComfyUI's argument layouts into a SelfAttentionCall and the result back."""
        layer = self.layer_of(q, k, skip_reshape, transformer_options or {})
        if self.forward_pass is None or layer is None:
            return dense()
        if not skip_reshape:
            q, k, v = (rearrange(x, "b n (heads d) -> b heads n d", heads=heads) for x in (q, k, v))
        forward = self.forward_pass
        call = SelfAttentionCall(q, k, v, mask, layer, forward.layout, forward.sigma, forward.conditions)
        out = self.attend(call, dense)  # (B, heads, tokens, dim)
        if out is None:
            return dense()
        return out if skip_output_reshape else rearrange(out, "b heads n d -> b n (heads d)")

    def layer_of(self, q: Tensor, k: Tensor, skip_reshape: bool, options: dict) -> int | None:
        """The layer that a self-attention over the video belongs to; None for every other call."""
        forward = self.forward_pass
        if forward is None:
            return None
        index, forward.calls = forward.calls, forward.calls + 1
        tokens = 2 if skip_reshape else 1
        if not q.shape[tokens] == k.shape[tokens] == forward.layout.total:
            return None
        if forward.layout.context_tokens == forward.layout.total and index % forward.calls_per_layer:
            return None  # cross-attention to a text that happens to be as long as the video
        layer = options.get("block_index", forward.self_attention_calls)
        forward.self_attention_calls += 1
        if layer >= forward.layers:
            self.fall_back(
                f"more self-attention calls than the {forward.layers} layers of {self.family.name}"
            )
            return None
        return layer
