"""Guiders as other packs write them: they hand the run on, cut it, or do something of their own."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import torch


def below_ours(guider: Any, kernel: Any) -> Any:
    """The guider with another pack's attention override in its model."""
    neighbour = copy.copy(guider)
    neighbour.model_options = {"transformer_options": {"optimized_attention_override": kernel}}
    return neighbour


class DelegatingGuider:
    """Samples with another guider, as nodes for scheduled prompts do."""

    def __init__(self, inner: Any):
        self.inner = inner
        self.model_patcher = inner.model_patcher
        self.model_options = inner.model_patcher.model_options

    def sample(self, *given: Any, **named: Any) -> Any:
        return self.inner.sample(*given, **named)


class TransparentGuider:
    """Has nothing of its own: every name is looked up in another guider."""

    def __init__(self, inner: Any):
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class NestedGuider(DelegatingGuider):
    """Two of them in each other."""

    def __init__(self, inner: Any):
        super().__init__(TransparentGuider(DelegatingGuider(inner)))


class ScheduledGuider(DelegatingGuider):
    """Cuts the run at some steps, and gives the noisy latent on."""

    cuts = (2, 3)

    def sample(self, noise: Any, latent: Any, sampler: Any, sigmas: Any, **named: Any) -> Any:
        places = [0, *(cut for cut in self.cuts if cut < len(sigmas) - 1), len(sigmas) - 1]
        for start, stop in pairwise(places):
            latent = self.inner.sample(noise, latent, sampler, sigmas[start : stop + 1], **named)
            noise = torch.zeros_like(noise)
        return latent


class RepeatingGuider(DelegatingGuider):
    """Runs everything twice, for instance to average."""

    def sample(self, noise: Any, *given: Any, **named: Any) -> Any:
        return (self.inner.sample(noise, *given, **named) + self.inner.sample(noise, *given, **named)) / 2


class ShorteningGuider(DelegatingGuider):
    """Leaves the last step out."""

    def sample(self, noise: Any, latent: Any, sampler: Any, sigmas: Any, **named: Any) -> Any:
        return self.inner.sample(noise, latent, sampler, sigmas[:-1], **named)


class LateGuider(DelegatingGuider):
    """Leaves the first step out."""

    def sample(self, noise: Any, latent: Any, sampler: Any, sigmas: Any, **named: Any) -> Any:
        return self.inner.sample(noise, latent, sampler, sigmas[1:], **named)


class OwnSamplerGuider(DelegatingGuider):
    """Takes Euler, whatever it is given."""

    def sample(self, noise: Any, latent: Any, sampler: Any, sigmas: Any, **named: Any) -> Any:
        import comfy.samplers

        return self.inner.sample(noise, latent, comfy.samplers.sampler_object("euler"), sigmas, **named)


def deaf_guider(guider: Any) -> Any:
    """One that calls the model with the options it was made with, not with those of the sampler."""
    import comfy.samplers

    class DeafGuider(comfy.samplers.CFGGuider):
        def predict_noise(self, x: Any, timestep: Any, model_options: Any = None, seed: Any = None) -> Any:
            return super().predict_noise(x, timestep, self.made_with, seed)

    deaf = DeafGuider(guider.model_patcher)
    deaf.original_conds, deaf.cfg = guider.original_conds, guider.cfg
    deaf.made_with = guider.model_patcher.model_options
    return deaf
