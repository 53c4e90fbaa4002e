"""Sees every video self-attention call of one sampler run, and may answer it.

Three published hooks of ComfyUI carry it: a wrapper around the diffusion model (which tokens, which sigma,
which conditions), `patches_replace` (which block) and `optimized_attention_override` (q, k and v of each
call). The first goes into a copy of the model options; the others are put, above those of other packs, into
a copy of the transformer options that lives for one forward pass. So nothing outside the run changes and
nothing is left behind.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
import torch
from einops import rearrange
from torch import Tensor

from .forward_pass import ForwardPass, named_arguments, positive_chunk
from .larger_size import LargerSize
from .token_layout import ModelFamily, TokenLayout

log = logging.getLogger(__name__)

WRAPPER_KEY = "s2flow"
OPTIONS = "transformer_options"
OVERRIDE = "optimized_attention_override"


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


@dataclass
class SelfAttentionHook:
    """Lives for one sampler run and owns its state; by itself it leaves every call to the attention below.

    larger: how positions and attention are adapted to a larger size.
    """

    family: ModelFamily
    model: Any  # the diffusion model
    larger: LargerSize | None = field(default=None, init=False)
    positive: frozenset = field(default=frozenset(), init=False)  # ids of the guider's positive conditions
    reasons: set[str] = field(default_factory=set, init=False)

    def attend(self, call: SelfAttentionCall) -> Tensor | None:
        """Answers a call with (B, heads, tokens, dim), or None to leave it to the attention below."""
        return None

    def attach(self, model_options: dict) -> dict:
        """A copy of the model options that runs through this hook."""
        self.prepare, self.answer = untraced(self.prepare), untraced(self.answer)
        options = comfy.model_patcher.create_model_options_clone(model_options)
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

    def wrap_forward(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = self.prepare(executor.original, args, kwargs)
        if self.larger is None:
            return executor(*args, **kwargs)
        with self.larger.positions_of(self.family, self.model):
            return executor(*args, **kwargs)

    def prepare(self, function: Callable, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """The arguments of a forward pass, with transformer options that run through this hook."""
        inputs = named_arguments(function, args, kwargs)
        options = inputs.get(OPTIONS) or {}
        forward = self.describe_forward(args[0], inputs, options)
        if forward is None:
            return args, kwargs
        # Every argument keeps its place: other packs' wrappers find theirs by counting.
        ours = self.options_for(forward, options)
        if OPTIONS in kwargs:
            return args, kwargs | {OPTIONS: ours}
        return tuple(ours if given is options else given for given in args), kwargs

    def describe_forward(self, latent: Tensor, inputs: dict, options: dict) -> ForwardPass | None:
        if "sigmas" not in options or "cond_or_uncond" not in options:
            self.fall_back("the sampler does not tell which sigma it is at")
            return None
        return ForwardPass(
            family=self.family,
            model=self.model,
            layout=self.family.layout(self.model, latent, inputs),
            sigma=float(options["sigmas"].flatten()[0]),
            conditions=len(options["cond_or_uncond"]),
            positive=positive_chunk(options, self.positive),
        )

    def options_for(self, forward: ForwardPass, options: dict) -> dict:
        """Transformer options of one pass, with our parts above those of other packs."""
        replaced = options.get("patches_replace", {})
        blocks = dict(replaced.get("dit", {}))
        for number, key in enumerate(self.family.blocks(self.model)):
            blocks[key] = announcing(forward, number, blocks.get(key))
        return options | {
            "patches_replace": replaced | {"dit": blocks},
            OVERRIDE: self.override_above(options.get(OVERRIDE), forward),
        }

    def override_above(self, below: Callable | None, forward: ForwardPass) -> Callable:
        factor = 1.0 if self.larger is None else self.larger.logit_factor

        def override(original: Callable, q: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            layer = forward.layer_of_next_call()
            if layer is not None:
                q = q if factor == 1 else q * factor
                answer = self.answer(forward, layer, q, *args, **kwargs)
                if answer is not None:
                    return answer
            if below is not None:
                return below(original, q, *args, **kwargs)
            return original(q, *args, **kwargs)

        return override

    def answer(
        self,
        forward: ForwardPass,
        layer: int,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        heads: int,
        mask: Tensor | None = None,
        *_: Any,
        skip_reshape: bool = False,
        skip_output_reshape: bool = False,
        **__: Any,
    ) -> Tensor | None:
        """Turns ComfyUI's argument layouts into a SelfAttentionCall and the result back."""
        tokens = q.shape[2 if skip_reshape else 1]
        if tokens != forward.layout.total or k.shape != q.shape:
            self.fall_back(
                f"{self.family.name} attends to {tokens} tokens here instead of {forward.layout.total}"
            )
            return None
        if mask is not None and not isinstance(mask, Tensor):
            # Later versions describe the mask of LTX-Video's guide frames by an object.
            self.fall_back(f"{self.family.name} passes a {type(mask).__name__} as mask")
            return None
        if not skip_reshape:
            q, k, v = (rearrange(x, "b n (heads d) -> b heads n d", heads=heads) for x in (q, k, v))
        positive = None
        if forward.positive is not None:
            size = q.shape[0] // forward.conditions
            positive = slice(forward.positive * size, (forward.positive + 1) * size)
        call = SelfAttentionCall(q, k, v, mask, layer, forward.layout, forward.sigma, positive)
        out = self.attend(call)  # (B, heads, tokens, dim)
        if out is None or skip_output_reshape:
            return out
        return rearrange(out, "b heads n d -> b n (heads d)")


def untraced(function: Callable) -> Callable:
    """Keeps torch.compile, once anyone uses it, from tracing a function: the graph breaks around it."""
    return torch.compiler.disable(function) if "torch._dynamo" in sys.modules else function


def announcing(forward: ForwardPass, number: int, below: Callable | None) -> Callable:
    """A replacement patch that runs a block as before and says which one is running."""

    def run_block(args: dict, extra: dict) -> dict:
        original = extra["original_block"]

        def run_announced(args: dict) -> dict:
            with forward.inside(number):
                return original(args)

        if below is None:
            return run_announced(args)
        try:
            return below(args, extra | {"original_block": run_announced})
        finally:
            forward.leave(number)

    return run_block
