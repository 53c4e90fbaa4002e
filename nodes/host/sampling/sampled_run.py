"""A run of one of our samplers, whole or in parts, as ComfyUI's KSAMPLER calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from .streams import Streams


class SamplerFunction(Protocol):
    """A sampler as k-diffusion writes it; model(x, sigma) returns the guided denoised latent."""

    def __call__(
        self,
        model: Callable,
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Callable | None = None,
        disable: bool = False,
    ) -> Tensor: ...


class GuidedModel:
    """The model as a sampler function sees it, with σ given once per step instead of once per sample."""

    def __init__(self, model: Callable, x: Tensor, extra_args: dict):
        self.model = model
        self.extra_args = extra_args
        self.ones = torch.ones(x.shape[0], dtype=x.dtype, device=x.device)  # (B,)

    @property
    def mask(self) -> Tensor | None:
        """1 where the video is made, 0 where ComfyUI puts back what is held; None without a mask."""
        return self.extra_args.get("denoise_mask")

    def denoised(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Guided clean estimate of the state x at σ, in model space."""
        return self.model(x, sigma * self.ones, **self.extra_args)


class SampledRun:
    """One run over sigmas, sampled whole or in parts that share its state; a subclass says what a step does.

    The state passes from part to part in here. As a LATENT it would be divided by 1-σ and multiplied again,
    which is what ComfyUI does with leftover noise and at σ near 1 costs most of its digits.
    """

    def __init__(self, sigmas: Tensor):
        self.sigmas = sigmas  # (steps + 1,)
        self.x: Tensor | None = None
        self.streams = Streams(())  # of the state, known when the run begins

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    def begin(self, model: Any, x: Tensor) -> None:
        """Before the first step: sets up what needs the state's size and device."""

    def denoised(self, guided: GuidedModel, x: Tensor, i: int) -> Tensor:
        """The clean estimate of step i, which the preview shows; x: the state at sigmas[i]."""
        raise NotImplementedError

    def advance(self, x: Tensor, denoised: Tensor, i: int) -> Tensor:
        """The state at sigmas[i+1]."""
        raise NotImplementedError

    def end(self) -> None:
        """After the last step."""

    def part(self, steps: slice) -> SamplerFunction:
        """A sampler function that runs some of the steps; parts must run in order."""

        @torch.no_grad()
        def sample(
            model: Any,
            x: Tensor,
            sigmas: Tensor,
            extra_args: dict[str, Any],
            callback: Callable | None = None,
            disable: bool = False,
        ) -> Tensor:
            if self.x is None:
                self.sigmas = self.sigmas.to(x.device)
                # KSampler hands down the inpainting wrapper around the guider around the model.
                self.streams = Streams.of_run(model.inner_model.inner_model, x)
                self.begin(model, x)
            else:
                x = self.x.to(x)
            guided = GuidedModel(model, x, extra_args)
            for i in range(steps.start, steps.stop):
                denoised = self.denoised(guided, x, i)
                if callback is not None:
                    callback({"i": i, "denoised": denoised, "x": x})
                x = self.advance(x, denoised, i)
            self.x = x
            if steps.stop == self.steps:
                self.end()
            return x

        return sample


def whole_runs(new_run: Callable[[Any, Tensor], SampledRun]) -> SamplerFunction:
    """A sampler function for whole runs: every call of it is a run of its own, new_run(model, sigmas)."""

    def sample(model: Callable, x: Tensor, sigmas: Tensor, *given: Any, **named: Any) -> Tensor:
        run = new_run(model, sigmas)
        return run.part(slice(0, run.steps))(model, x, sigmas, *given, **named)

    return sample
