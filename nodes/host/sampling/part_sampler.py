"""The sampler that a guider is given for a part of one of our runs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import comfy.samplers
from torch import Tensor

from ..attention.hook import SelfAttentionHook
from ..model.checks import identity_of
from .sampled_run import SampledRun
from .streams import VideoLatent

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """Steps of one run that one guider takes. hook: what its attention runs through."""

    guider: Any
    steps: slice
    run: SampledRun
    hook: SelfAttentionHook | None = None


class PartSampler(comfy.samplers.KSAMPLER):
    """Samples a part of a run, whoever calls it.

    The guider that is given may hand the sampler on to another one inside it. So what belongs to the run is
    added here, where the guider that really runs the model is known: the hook to its model options, and,
    where the noise belongs to the video frame by frame, that noise.
    """

    def __init__(self, part: Part, noise_of_video: Any | None):
        super().__init__(part.run.sample)
        self.part = part
        self.noise_of_video = None if noise_of_video is None else VideoLatent.of(noise_of_video).copied()
        if part.hook is not None:
            part.hook.begin_run()

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: Tensor,
        *given: Any,
        **named: Any,
    ) -> Tensor:
        require_model_of_guider(self.part.guider, model_wrap)
        if self.noise_of_video is not None:
            noise = unchanged_noise(noise, self.noise_of_video)
        hook, run = self.part.hook, self.part.run
        if hook is None:
            return super().sample(model_wrap, sigmas, extra_args, callback, noise, *given, **named)
        hook.positive = positive_conditions(model_wrap)
        options = hook.attach_to_forward(extra_args["model_options"])

        def checked(*state: Any) -> None:
            require_hook_called(hook, run, model_wrap)
            if callback is not None:
                callback(*state)

        with hook.sharing.during(self.part.guider.model_patcher):
            result = super().sample(
                model_wrap, sigmas, extra_args | {"model_options": options}, checked, noise, *given, **named
            )
        if run.handed == self.part.steps.stop:
            hook.finish_run()
        return result


def require_model_of_guider(given: Any, running: Any) -> None:
    """Raises unless a guider that runs inside another has the model that everything was checked for."""
    if running is given:
        return
    outside, inside = (identity_of(guider.model_patcher) for guider in (given, running))
    if outside != inside:
        raise ValueError(
            f"This {type(given).__name__} has a model of {outside.family} ({outside.layers} layers), but "
            f"samples with one of {inside.family} ({inside.layers} layers). Connect the guider of the model "
            "that samples."
        )


def require_hook_called(hook: SelfAttentionHook, run: SampledRun, guider: Any) -> None:
    """Raises if the model has answered, and not through the hook that the run was given."""
    if run.model_calls and not hook.run.passes and hook.asked_for:
        raise ValueError(
            f"{type(guider).__name__} calls the model without the options that the sampler gives it, so "
            f"{hook.asked_for} cannot reach it. Take a guider that passes them on, such as CFGGuider."
        )


def unchanged_noise(given: Tensor, own: VideoLatent) -> Tensor:
    """The run's own noise, as a sampler gets it, in place of what other nodes have made of it.

    Core's FreeNoise, for one, puts noise of earlier frames into later ones, which tears the two apart.
    """
    noise = own.packed().to(given)
    if not noise.equal(given):
        log.info(
            "S²Flow: another node changed the noise, which belongs to this video; the run keeps its own."
        )
    return noise


def positive_conditions(guider: Any) -> frozenset:
    """Ids of the guider's positive conditions, as they come back in the transformer options."""
    conditions = getattr(guider, "original_conds", {}).get("positive") or ()
    return frozenset(condition["uuid"] for condition in conditions if "uuid" in condition)
