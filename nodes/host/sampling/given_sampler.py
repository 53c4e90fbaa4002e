"""A sampler of core's in place of Euler in the small run, recorded at every step of the schedule."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

import comfy.samplers
from torch import Tensor

from .guided_model import GuidedModel
from .numbers import check_estimate, check_state
from .out_of_memory import tried_twice
from .streams import Streams

log = logging.getLogger(__name__)
# In the names of samplers that draw noise at every step.
RANDOM = ("ancestral", "sde", "lcm", "seeds", "ddpm", "sa_solver")
# Samplers compute in terms of other functions of sigma and come back to it with this error; some move the
# first sigma, where they have a pole, by half of it.
SAME_STEP = 2e-4


class RecordedRun(Protocol):
    """What a sampler's steps are written into."""

    sigmas: Tensor
    model_calls: int
    streams: Streams

    @property
    def steps(self) -> int: ...

    def part_of_step(self, i: int) -> Any: ...

    def write_down(self, x: Tensor, denoised: Tensor, i: int) -> None: ...


def require_recordable(sampler: Any, resume_every: int) -> None:
    """Raises for a sampler without a sampler function, and where the run is to be kept: what a sampler of
    several steps remembers is not ours to keep. Says what a random one costs."""
    if not isinstance(sampler, comfy.samplers.KSAMPLER):
        raise ValueError(
            f"The Low-Res Sampler cannot record {type(sampler).__name__}. Connect KSampler Select or another "
            "of core's samplers, or leave sampler empty for Euler."
        )
    if resume_every:
        raise ValueError(
            f"resume_every is {resume_every}, but only the Low-Res Sampler's own Euler can go on in the "
            "middle of a run. Set it to 0, or disconnect sampler."
        )
    name = name_of(sampler)
    if any(word in name for word in RANDOM):
        log.warning(
            "S²Flow: %s draws new noise at every step, so the small run is no single path, and differences "
            "of its steps mean little. Set derivative of the High-Res Sampler to 'history'.",
            name,
        )


def name_of(sampler: Any) -> str:
    function = sampler.sampler_function
    return getattr(function, "__name__", type(function).__name__).removeprefix("sample_")


def run_given(
    run: RecordedRun, sampler: Any, guided: GuidedModel, x: Tensor, steps: range, callback: Callable | None
) -> Tensor:
    """The state after these steps of the run, which begin at x; every one of them is written down."""

    def tell(state: dict[str, Any]) -> None:
        if callback is not None:
            callback(state | {"i": state["i"] + steps.start})

    model = RecordedModel(run, guided, steps, name_of(sampler))
    x = sampler.sampler_function(
        model,
        x,
        # uni_pc writes into what it is given.
        run.sigmas[steps.start : steps.stop + 1].clone(),
        extra_args=guided.extra_args,
        callback=tell,
        disable=True,
        **sampler.extra_options,
    )
    model.require_every_step()
    check_state(x, steps.stop - 1, run.steps)
    return x


class RecordedModel:
    """The model as a sampler function calls it: what it is asked at the sigma of a step is that step's."""

    def __init__(self, run: RecordedRun, guided: GuidedModel, steps: range, name: str):
        self.run, self.guided, self.name = run, guided, name
        self.waiting = list(steps)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.guided.model, name)

    def __call__(self, x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        step = self.step_at(float(sigma.max()))
        at = f"step {step + 1} of {self.run.steps}" if step is not None else "a call between two steps"
        video = self.run.streams.split(x)[0]

        def compute() -> Tensor:
            if step is not None:
                self.run.part_of_step(step).begin_step(step)
            return self.guided.model(x, sigma, **extra_args)

        denoised = tried_twice(compute, self.guided.base_model, video, at)
        self.run.model_calls += 1
        if step is not None:
            check_estimate(denoised, self.guided, x, step, self.run.sigmas)
            self.run.write_down(x, denoised, step)
        return denoised

    def step_at(self, sigma: float) -> int | None:
        """The step that a call belongs to; None between steps. Raises where a step is computed twice."""
        sigmas = self.run.sigmas
        if self.waiting and abs(float(sigmas[self.waiting[0]]) - sigma) <= SAME_STEP:
            return self.waiting.pop(0)
        last = self.waiting[0] if self.waiting else self.run.steps
        if any(abs(float(value) - sigma) <= SAME_STEP for value in sigmas[:last] if float(value) > 0):
            raise ValueError(
                f"{self.name} computes a step twice, from two states, so none of them is the run's own. "
                "Choose a sampler that asks the model once at each sigma: euler, res_multistep, dpmpp_2m, "
                "uni_pc, ipndm, deis, lcm."
            )
        if self.waiting and sigma < float(sigmas[self.waiting[0]]):
            raise self.hole()
        return None

    def require_every_step(self) -> None:
        if self.waiting:
            raise self.hole()

    def hole(self) -> ValueError:
        return ValueError(
            f"{self.name} left out step {self.waiting[0] + 1} of {self.run.steps}, so the record has a hole. "
            "Choose another sampler, or leave sampler empty for Euler."
        )
