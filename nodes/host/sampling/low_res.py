"""The LR run: Euler that writes down every step, whole or in parts under two experts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from torch import Tensor

from ....s2flow_core.files.run_state import RunState
from ....s2flow_core.latent.flow import noise_estimate
from ....s2flow_core.solver.flow_solver import FlowSolver
from ....s2flow_core.trajectory.recorder import TrajectoryRecorder
from ....s2flow_core.trajectory.trajectory import ModelIdentity, Trajectory
from ....s2flow_core.windows.grid import TokenGrid, choose_reach_tile
from ....s2flow_core.windows.ladder import extent_ladder
from ..attention.capture import AttentionCapture
from ..attention.hook import SelfAttentionHook
from .given_sampler import name_of, run_given
from .guided import Part
from .guided_model import GuidedModel
from .recorded_video import RecordedVideo
from .sampled_run import SampledRun
from .step_clock import StepClock
from .streams import VideoLatent


@dataclass
class RecordedPart:
    """The steps that one guider takes, and what writes them down."""

    guider: Any
    steps: slice
    recorder: TrajectoryRecorder
    hook: SelfAttentionHook | None = None  # what its attention runs through
    clock: StepClock = field(default_factory=StepClock)

    @property
    def capture(self) -> AttentionCapture | None:
        return self.hook if isinstance(self.hook, AttentionCapture) else None

    def begin_step(self, i: int) -> None:
        self.clock.begin(self.capture)
        if self.capture is not None:
            self.capture.begin_step(i - self.steps.start)

    def state(self, position: int) -> dict[str, Tensor]:
        """What has been written down of the steps before `position`, by name."""
        done = min(position, self.steps.stop) - self.steps.start
        captured = {} if self.capture is None else self.capture.state(done)
        return self.recorder.state(done) | {f"attention.{name}": x for name, x in captured.items()}

    def restore(self, state: RunState, prefix: str, sigmas: Tensor, shape: tuple[int, ...]) -> None:
        """sigmas: of the steps that were written down; shape: of the video (B, C, T, H, W)."""
        if len(sigmas):
            self.recorder.restore(state, prefix, sigmas, shape)
        if self.capture is not None:
            self.capture.restore(state, f"{prefix}attention.", len(sigmas))

    @property
    def to_latent_space(self) -> Callable[[Tensor], Tensor]:
        return self.guider.model_patcher.model.process_latent_out


class LowResRun(SampledRun):
    """Euler over recorded parts, in order, or a sampler that is given in its place."""

    def __init__(self, sigmas: Tensor, parts: Sequence[RecordedPart], sampler: Any | None = None):
        super().__init__(sigmas)
        self.recorded = [part for part in parts if part.steps.start < part.steps.stop]
        self.solver = FlowSolver(order=1, source="none")
        self.sampler = sampler

    def parts(self) -> list[Part]:
        """The parts as `sample_in_parts` takes them."""
        return [Part(part.guider, part.steps, self, part.hook) for part in self.recorded]

    def part_of_step(self, i: int) -> RecordedPart:
        return next(part for part in self.recorded if i < part.steps.stop)

    def denoised(self, guided: GuidedModel, x: Tensor, i: int) -> Tensor:
        self.part_of_step(i).begin_step(i)
        return guided.denoised(x, self.sigmas[i])

    def run_steps(self, guided: GuidedModel, steps: range, callback: Callable | None) -> None:
        if self.sampler is None:
            return super().run_steps(guided, steps, callback)
        started = time.perf_counter()
        assert self.x is not None, "sample has set it"
        self.x = run_given(self, self.sampler, guided, self.x, steps, callback)
        self.position = steps.stop
        self.seconds += time.perf_counter() - started

    def advance(self, x: Tensor, denoised: Tensor, i: int) -> Tensor:
        self.write_down(x, denoised, i)
        return self.solver.step(x, denoised, self.sigmas, i)

    def write_down(self, x: Tensor, denoised: Tensor, i: int) -> None:
        """Step i: the state at its sigma and what the model makes of it."""
        part, sigma = self.part_of_step(i), self.sigmas[i]
        part.clock.end(part.capture)
        (video, *_), (clean, *_) = self.streams.split(x), self.streams.split(denoised)
        part.recorder.record(sigma, part.to_latent_space(clean), noise_estimate(video, clean, sigma))

    def state(self) -> RunState:
        state = super().state()
        tensors = dict(state.tensors)
        for n, part in enumerate(self.recorded):
            tensors |= {f"part{n}.{name}": x for name, x in part.state(state.position).items()}
        clocks = {f"part{n}.seconds": part.clock.state() for n, part in enumerate(self.recorded)}
        return RunState(state.position, tensors, {**state.values, **clocks})

    def restore(self, state: RunState) -> None:
        super().restore(state)
        assert self.x is not None, "SampledRun.restore has set it"
        shape = tuple(self.streams.split(self.x)[0].shape)
        for n, part in enumerate(self.recorded):
            done = slice(part.steps.start, min(part.steps.stop, state.position))
            part.restore(state, f"part{n}.", self.sigmas[done].cpu(), shape)
            part.clock.restore(state.values.get(f"part{n}.seconds"))

    def trajectory(self, final: VideoLatent, video: RecordedVideo, earlier: Trajectory | None) -> Trajectory:
        """The record of the finished run, after that of the run that it continued.

        final: in LATENT space, with the sound beside it.
        """
        records = [] if earlier is None else [earlier]
        euler = self.sampler is None or name_of(self.sampler) == "euler"
        for part in self.recorded:
            record = part.recorder.finish(
                final=final.video,
                token_shape=video.token_shape,
                patch=video.patch,
                model=video.model,
                seconds=self.seconds / len(self.recorded),
                reach=part.capture.reach() if part.capture else None,
                end_sigma=float(self.sigmas[part.steps.stop]),
                held=video.held,
            )
            records.append(replace(record, euler=euler, step_seconds=part.clock.typical()))
        return video.completed(reduce(Trajectory.followed_by, records), final)


def require_one_architecture(high_noise: ModelIdentity, low_noise: ModelIdentity) -> None:
    """Raises unless both experts are models of one kind, which make one record."""
    if high_noise != low_noise:
        raise ValueError(
            f"The model of guider is {described(high_noise)}, "
            f"that of guider_low_noise {described(low_noise)}. "
            "Two experts have one architecture: connect the high-noise and the low-noise model of one pair."
        )


def described(model: ModelIdentity) -> str:
    return f"{model.family} ({model.layers} layers, {model.heads} heads, {model.channels} channels)"


def require_nothing_held(latent: dict[str, Any]) -> None:
    """Raises if a mask would hold the noisy latent of a run that stopped early, as ComfyUI does."""
    if latent.get("noise_mask") is not None:
        raise ValueError(
            "latent_image has a mask (a start image or keyframes of image to video), and this run continues "
            "another one, so the mask would hold what is still noise. Run all sigmas in one Low-Res Sampler."
        )


def require_same_capture(earlier: Trajectory, rows: int, with_error: bool) -> None:
    """Raises unless both parts of a run record the same: windows need the attention of every step."""
    reach = earlier.reach
    if (reach is not None) != bool(rows):
        other = "holds none" if reach is None else "holds attention"
        raise ValueError(
            f"capture_rows is {rows}, but the earlier trajectory {other}. Set capture_rows to 0 in both "
            "Low-Res Samplers or in neither."
        )
    if reach is None:
        return
    if (reach.error is not None) != with_error:
        raise ValueError(
            f"capture_error is {with_error} here and was {not with_error} in the earlier run. Set it alike "
            "in both Low-Res Samplers."
        )
    grid = TokenGrid(reach.shape, choose_reach_tile(reach.shape))
    reach.check_records(grid, extent_ladder(grid.tiles))
