"""Sees every video self-attention call of one sampler run, and may answer it.

Three published hooks of ComfyUI carry it: a wrapper around the diffusion model (which tokens, which sigma,
which conditions), `patches_replace` (which block) and `optimized_attention_override` (q, k and v of each
call). The first goes into a copy of the model options, those of a MODEL or of one run; the others are put,
above those of other packs, into the transformer options for the time of one forward pass, and taken out after
it. So nothing outside the run changes and nothing is left behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import comfy.model_management
import comfy.patcher_extension
from torch import Tensor

from ....s2flow_core.attention.call import VisitedKeys
from ....s2flow_core.attention.errors import WindowsNotApplicable
from ....s2flow_core.attention.shared_dense import Beside
from ..families.family import ModelFamily
from ..model.context_windows import frames_of_slice, without_lent_frame
from ..model.preferred_attention import preferred_attention
from .call import HostCall, SelfAttentionCall
from .feed_forward import WHOLE, FeedForwardChunks
from .forward_pass import ForwardPass, crossed_lengths, named_arguments, positive_chunk
from .gpu_sharing import GpuSharing
from .model_options import announcing, replaced, untraced, with_wrapper
from .positions import SizeChange
from .run_record import RunRecord

OPTIONS = "transformer_options"
OVERRIDE = "optimized_attention_override"


class Prepared(NamedTuple):
    """options: the transformer options of a pass; ours: what of them is replaced during it; layers: cuts the
    feed-forward layers during it."""

    options: dict
    ours: dict
    layers: AbstractContextManager[None]


@dataclass
class SelfAttentionHook:
    """Serves sampler runs, one after the other; by itself it leaves every call to the attention below.

    size_change: how positions and attention are adapted to a larger size. feed_forward: in how many pieces
    those layers run. sharing: the GPUs that compute the attention.
    """

    family: ModelFamily
    model: Any  # the diffusion model
    size_change: SizeChange | None = field(default=None, init=False)
    feed_forward: FeedForwardChunks = field(default_factory=lambda: FeedForwardChunks(WHOLE), init=False)
    positive: frozenset = field(default=frozenset(), init=False)  # ids of the guider's positive conditions
    run: RunRecord = field(default_factory=RunRecord, init=False)
    sharing: GpuSharing = field(default_factory=GpuSharing, init=False)

    work = "attention_temperature"  # what it does, in its inputs' words
    sees_calls: ClassVar[bool] = False  # whether it answers or measures attention calls

    def attend(self, call: SelfAttentionCall) -> Tensor | None:
        """Answers a call with (B, heads, tokens, dim), or None to leave it to the attention below."""
        self.run.serve(call.layer, VisitedKeys())  # q has its temperature
        return None

    def begin_attention(self, q: Tensor, k: Tensor) -> Any:
        """Before the attention below computes a call; what it returns comes back with `end_attention`."""

    def end_attention(self, began: Any) -> None:
        """After it."""

    def serves(self, forward: ForwardPass) -> bool:
        """Whether every self-attention of this pass is to be served."""
        return self.logit_factor != 1 or bool(self.sharing.by_device)

    @property
    def follows_attention(self) -> bool:
        """Whether attention calls are looked at at all; positions and feed-forward layers need none."""
        return self.sees_calls or self.logit_factor != 1 or bool(self.sharing.by_device)

    @property
    def asked_for(self) -> str:
        """What a run without it would lack, in its inputs' words; "" if only layers would be cut where memory
        is short, for which nobody asked."""
        if self.follows_attention:
            return self.work
        if self.size_change is not None:
            return "rope"
        return "feed_forward_chunks" if self.feed_forward.asked > WHOLE else ""

    @property
    def visited(self) -> VisitedKeys:
        return self.run.visited

    @property
    def layers(self) -> int:
        return self.family.layers(self.model)

    @property
    def logit_factor(self) -> float:
        return 1.0 if self.size_change is None else self.size_change.logit_factor

    def __deepcopy__(self, memo: dict) -> SelfAttentionHook:
        """Cloning a MODEL copies its options deeply in earlier versions, and would copy the network too."""
        return self

    def attach(self, model_options: dict) -> dict:
        """A copy of a MODEL's options in which every run is one of this hook."""
        kind = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
        return with_wrapper(self.attach_to_forward(model_options), kind, self.wrap_run)

    def attach_to_forward(self, model_options: dict) -> dict:
        """A copy of the model options that runs through this hook; who samples says when a run begins."""
        return with_wrapper(
            model_options, comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, self.wrap_forward
        )

    def wrap_run(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        self.begin_run()
        with self.sharing.during(executor.class_obj.model_patcher):
            result = executor(*args, **kwargs)
        self.finish_run()
        return result

    def begin_run(self) -> None:
        """A run of its own: what a cached MODEL met in earlier ones does not count."""
        self.run = RunRecord()
        self.feed_forward.begin_run()

    def finish_run(self) -> None:
        self.run.judge_first_step(self.work, self.layers)

    def fall_back(self, reason: str) -> None:
        """Logs once per run why attention stays what it was."""
        self.run.fall_back(reason)

    def begin_pass(self, forward: ForwardPass) -> None:
        if self.serves(forward):
            self.run.begin_step(forward.sigma, self.work, self.layers)

    def wrap_forward(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        return untraced(self.run_forward, calls_too=False)(executor, args, kwargs)

    def run_forward(self, executor: Any, args: tuple, kwargs: dict) -> Any:
        # Core's MultiGPU CFG Split runs a clone of the model on each device, in a thread of its own.
        model = self.model if executor.class_obj is None else executor.class_obj
        self.run.passes += 1
        options, ours, layers = untraced(self.prepare)(model, executor.original, args, kwargs)
        with replaced(options, ours), adapted_positions(self.size_change, self.family, model), layers:
            return executor(*args, **kwargs)

    def prepare(self, model: Any, function: Callable, args: tuple, kwargs: dict) -> Prepared:
        """What is to be replaced during a forward pass."""
        inputs = named_arguments(function, args, kwargs)
        options = inputs.get(OPTIONS) or {}
        if not self.follows_attention and self.feed_forward.asked == WHOLE:
            return Prepared(options, {}, nullcontext())
        # Models of picture and sound are given a list of streams, the video first.
        latent = args[0][0] if isinstance(args[0], (list, tuple)) else args[0]
        forward = self.describe_forward(model, latent, inputs, options)
        if forward is None:
            return Prepared(options, {}, nullcontext())
        ours = {}
        if self.follows_attention:
            self.begin_pass(forward)
            ours = self.hooks_for(forward, options)
        chunks = self.feed_forward.chunks_for(forward, latent)
        return Prepared(options, ours, self.feed_forward.cut(forward, chunks))

    def describe_forward(self, model: Any, latent: Tensor, inputs: dict, options: dict) -> ForwardPass | None:
        if "sigmas" not in options or "cond_or_uncond" not in options:
            if self.follows_attention:
                self.fall_back("the sampler does not tell which sigma it is at")
            return None
        layout = self.family.layout(model, latent, inputs)
        return ForwardPass(
            family=self.family,
            model=model,
            layout=without_lent_frame(layout, self.family.patch(model), options),
            # Reading it makes the host wait for the device.
            sigma=float(options["sigmas"].flatten()[0]) if self.follows_attention else math.nan,
            batch=latent.shape[0],
            conditions=len(options["cond_or_uncond"]),
            positive=positive_chunk(options, self.positive),
            crossed=crossed_lengths(inputs),
            frames=frames_of_slice(options),
        )

    def hooks_for(self, forward: ForwardPass, options: dict) -> dict:
        """Our parts of the transformer options for one pass, above those of other packs."""
        patches = options.get("patches_replace", {})
        blocks = dict(patches.get("dit", {}))
        keys = self.family.blocks(forward.model) if self.family.wraps_blocks else []
        for number, key in enumerate(keys):
            blocks[key] = announcing(forward, number, blocks.get(key))
        return {
            "patches_replace": patches | {"dit": blocks},
            OVERRIDE: self.override_above(options.get(OVERRIDE), forward),
        }

    def override_above(self, below: Callable | None, forward: ForwardPass) -> Callable:
        # Where an override is set, ComfyUI asks it alone.
        preferred = preferred_attention(forward.model) if below is None else None

        @untraced
        def answer(*given: Any) -> tuple[Tensor, Tensor | None]:
            return self.answer(forward, HostCall.of(*given))

        begin, end = untraced(self.begin_attention), untraced(self.end_attention)

        def override(
            original: Callable, q: Tensor, k: Tensor, v: Tensor, heads: int, *more: Any, **named: Any
        ) -> Tensor:
            original = preferred or original
            q, out = answer(original, below, (q, k, v), heads, more, named)
            if out is not None:
                return out
            began = begin(q, k)
            if below is not None:
                out = below(original, q, k, v, heads, *more, **named)
            else:
                out = original(q, k, v, heads, *more, **named)
            end(began)
            return out

        return untraced(override, calls_too=False)

    def answer(self, forward: ForwardPass, given: HostCall) -> tuple[Tensor, Tensor | None]:
        """q as the attention below is to see it, and our answer in ComfyUI's layout or None."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        options = given.named.get(OPTIONS) or {}
        layer = forward.layer_of_next_call(given.q, given.k, options)
        if layer is None:
            if given.named.get("enable_gqa", False) and given.q.shape[-2] == given.k.shape[-2]:
                self.fall_back(f"{self.family.name} {given.beyond_us()}")
            return given.q, None
        tokens = given.k.shape[-2]
        reason = forward.contradiction(tokens, options)
        if reason is not None:
            self.leave_dense(given, tokens, reason)
            return given.q, None
        if self.logit_factor != 1:
            given = replace(given, q=given.q * self.logit_factor)
        layout = forward.layout.with_total(tokens) or forward.layout
        reason = given.beyond_us()
        if reason is not None:
            self.leave_dense(given, layout.video, f"{self.family.name} {reason}")
            return given.q, None
        call = given.self_attention(forward, layer, layout)
        out = self.attend(call)  # (B, heads, tokens, dim)
        if out is None:
            self.leave_dense(given, layout.video)
            out = self.share(call)
        return given.q, None if out is None else given.as_returned(out)

    def may_share(self, call: SelfAttentionCall) -> bool:
        """Whether several GPUs are to compute a call; says why not, where they were asked for."""
        if self.sharing.of(call) is None or call.installed is None or not call.asked_whole:
            return False
        if not call.installed.shareable:
            self.fall_back(
                "it stays on one GPU, because another node computes it. If that is S²Flow Apply Windows, set "
                "its own gpus"
            )
        return call.installed.shareable

    def share(self, call: SelfAttentionCall, beside: Beside | None = None) -> Tensor | None:
        """The attention below us on several GPUs, and `beside` with each part; None where one computes it."""
        if not self.may_share(call):
            return None
        try:
            return self.sharing.dense(call, beside)
        except WindowsNotApplicable as reason:
            self.fall_back(f"it stays on one GPU, because {reason}")
            return None

    def leave_dense(self, given: HostCall, tokens: int, reason: str | None = None) -> None:
        """Counts a call that the attention below computes; logs the reason where there is one."""
        if reason is not None:
            self.fall_back(reason)
        self.run.leave_dense(given.q.shape[0], given.heads, tokens)


def adapted_positions(
    change: SizeChange | None, family: ModelFamily, model: Any
) -> AbstractContextManager[None]:
    return nullcontext() if change is None else change.positions_of(family, model)
