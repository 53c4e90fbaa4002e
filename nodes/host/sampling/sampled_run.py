"""A run of one of our samplers, whole or in parts, as ComfyUI's KSAMPLER calls it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from ....s2flow_core.files.checked_tensors import DamagedFile
from ....s2flow_core.files.run_state import RunState
from ....s2flow_core.latent.flow import SAME_SIGMA
from .guided_model import GuidedModel
from .numbers import check_estimate, check_start, check_state
from .out_of_memory import tried_twice
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


class RunKeeper(Protocol):
    """What keeps a run's state outside the process."""

    def after_step(self, run: SampledRun) -> None: ...

    def stopped(self, run: SampledRun) -> None: ...


class SampledRun:
    """One run over sigmas, sampled whole or in parts that share its state; a subclass says what a step does.

    The state passes from part to part in here. As a LATENT it would be divided by 1-sigma and multiplied
    again, which is what ComfyUI does with leftover noise and at sigma near 1 costs most of its digits.
    """

    def __init__(self, sigmas: Tensor):
        self.sigmas = sigmas  # (steps + 1,)
        self.x: Tensor | None = None
        self.position = 0  # the step that x stands before
        self.handed = 0  # the step up to which the run was handed to its guiders
        self.stepping = False  # a step runs now, or was stopped
        self.model_calls = 0
        self.seconds = 0.0  # that its steps took
        self.keeper: RunKeeper | None = None
        self.resumed: RunState | None = None
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

    def completed(self) -> None:
        """After every step, when `position` has moved on: `state` tells of here, whatever stops the next."""

    def state(self) -> RunState:
        """All that the steps from `position` on need; a subclass adds its own."""
        assert self.x is not None, "a run that has not begun has no state"
        return RunState(self.position, {"x": self.x}, {"seconds": self.seconds})

    def restore(self, state: RunState) -> None:
        """Takes a state over, after `begin`; raises DamagedFile where it does not fit this run."""
        assert self.x is not None, "restored before it began"
        self.x = state.tensor("x", tuple(self.x.shape), (self.x.dtype,)).to(self.x)
        self.seconds = float(state.values.get("seconds", 0.0))

    def end(self) -> None:
        """After the last step."""

    @torch.no_grad()
    def sample(
        self,
        model: Any,
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Callable | None = None,
        disable: bool = False,
    ) -> Tensor:
        """Runs the next steps, which are those between these sigmas; a sampler function."""
        guided = GuidedModel(model, x, extra_args)
        start, stop = self.next_steps(sigmas)
        if self.x is None:
            self.sigmas = self.sigmas.to(x.device)
            self.streams = Streams.of_run(guided.base_model, x)
            check_start(x)
            self.begin(model, x)
            self.x = x
            if self.resumed is not None:
                self.restore_kept(self.resumed)
        self.x = self.x.to(x)
        self.stepping = True
        try:
            self.run_steps(guided, range(max(start, self.position), stop), callback)
        except BaseException:
            if self.keeper is not None:
                self.keeper.stopped(self)
            raise
        self.stepping = False
        self.handed = stop
        if stop == self.steps:
            self.end()
        return self.x

    def run_steps(self, guided: GuidedModel, steps: range, callback: Callable | None) -> None:
        x = self.x
        assert x is not None
        for i in steps:
            started = time.perf_counter()
            denoised = tried_twice(
                partial(self.denoised, guided, x, i),
                guided.base_model,
                self.streams.split(x)[0],
                f"step {i + 1} of {self.steps}",
            )
            self.model_calls += guided.calls
            guided.calls = 0
            check_estimate(denoised, guided, x, i, self.sigmas)
            if callback is not None:
                callback({"i": i, "denoised": denoised, "x": x})
            x = self.advance(x, denoised, i)
            check_state(x, i, self.steps)
            self.x, self.position = x, i + 1
            self.completed()
            self.seconds += time.perf_counter() - started
            if self.keeper is not None:
                self.keeper.after_step(self)

    def next_steps(self, sigmas: Tensor) -> tuple[int, int]:
        """The steps between these sigmas; raises unless they are the ones that come next.

        A guider may hand a run on in pieces, as packs for scheduled prompts do, one after the other.
        """
        start, stop = self.handed, self.handed + len(sigmas) - 1
        planned = self.sigmas[start : stop + 1].to(sigmas)
        if len(planned) == len(sigmas) and bool(((planned - sigmas).abs() <= SAME_SIGMA).all()):
            return start, stop
        first = f"{float(sigmas[0]):.4g}" if len(sigmas) else "nothing"
        raise ValueError(
            f"This guider, or a node that wraps its sampling, asks for the steps from sigma {first} on "
            f"({max(len(sigmas) - 1, 0)} of them), where S²Flow stands at {float(self.sigmas[start]):.4g} "
            f"with {self.steps - start} of {self.steps} left. It repeats, leaves out or changes steps. Take "
            "a guider that runs the sigmas it is given, such as CFGGuider."
        )

    def resume_from(self, state: RunState) -> None:
        """Goes on from a state that was kept, as soon as the run begins."""
        self.resumed, self.position = state, state.position

    def restore_kept(self, state: RunState) -> None:
        try:
            self.restore(state)
        except DamagedFile as reason:
            raise ValueError(
                f"What was kept of this run does not fit it: {reason}. Set resume_every to 0 to start anew."
            ) from reason

    def leave_out(self, steps: slice) -> None:
        """Passes over steps that an earlier process has done."""
        self.handed = steps.stop

    def require_handed(self, steps: int) -> None:
        """Raises unless the run came as far as this: a guider may take another sampler, or stop early."""
        if self.handed < steps:
            raise ValueError(
                f"This guider ran {self.handed} of the {steps} steps that S²Flow gave it, so its video was "
                "made without them. Take a guider that uses the sampler it is given, such as CFGGuider."
            )


def whole_runs(new_run: Callable[[Any, Tensor], SampledRun]) -> SamplerFunction:
    """A sampler function for whole runs: every call of it is a run of its own, new_run(model, sigmas)."""

    def sample(model: Callable, x: Tensor, sigmas: Tensor, *given: Any, **named: Any) -> Tensor:
        return new_run(model, sigmas).sample(model, x, sigmas, *given, **named)

    return sample
