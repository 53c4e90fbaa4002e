"""Our solver as a k-diffusion style sampler function: one short loop for the node and for core's samplers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from ....s2flow_core.files.run_state import RunState
from ....s2flow_core.latent.flow import noise_estimate
from ....s2flow_core.solver.alignment import align_low_frequencies, decaying_strength
from ....s2flow_core.solver.derivatives import Node
from ....s2flow_core.solver.flow_solver import FlowSolver
from ....s2flow_core.solver.skipping import choose_skips, step_changes
from ....s2flow_core.trajectory.recorder import TrajectoryRecorder
from ....s2flow_core.trajectory.trajectory import Trajectory
from ..model.checks import identity_of, require_flow_model
from .experts import steps_above
from .guided_model import GuidedModel
from .record_at_high_res import RecordAtHighRes
from .recorded_video import RecordedVideo
from .sampled_run import SampledRun, SamplerFunction, whole_runs
from .stream_solver import StreamSolver
from .streams import VideoLatent

log = logging.getLogger(__name__)
# The sources that look into the LR record.
RECORD_SOURCES = ("low_res", "blend")
RECORDED = "recorded."  # names of what the recorder holds, in a kept state


@dataclass(frozen=True)
class FlowSettings:
    """What an HR run does beyond Euler.

    order, source: of the solver. skip_share: share of the model calls to forecast instead, 0 to 0.5.
    alignment: how strongly the coarse part is held to the LR video at the first step, 0 to 1. switch_sigma:
    sigma at which the model changes experts, in both runs, or None; no difference reaches across it.
    way_back: what errors add where a preset has chosen all this.
    """

    order: int
    source: str
    skip_share: float = 0.0
    alignment: float = 0.0
    switch_sigma: float | None = None
    way_back: str = ""

    @property
    def follows_record(self) -> bool:
        """Whether every HR step must answer to a recorded one."""
        return self.skip_share > 0 or self.alignment > 0

    def require_record(self, trajectory: Trajectory | None) -> None:
        """Raises if something here needs the LR record and there is none."""
        if trajectory is not None:
            return
        if self.order > 1 and self.source == "low_res":
            raise ValueError(
                f"Order {self.order} with the derivative 'low_res' needs the trajectory of the Low-Res "
                "Sampler. Connect it, choose the derivative 'history', or set the order to 1." + self.way_back
            )
        for name, value in (("skip_share", self.skip_share), ("alignment", self.alignment)):
            if value > 0:
                raise ValueError(
                    f"{name} is {value:g}, which needs the trajectory of the Low-Res Sampler. Connect it, or "
                    f"set {name} to 0." + self.way_back
                )


def flow_sampler(settings: FlowSettings, trajectory: Trajectory | None) -> SamplerFunction:
    """A sampler function for whole runs; every call of it is a run of its own."""

    def new_run(model: Any, sigmas: Tensor) -> FlowRun:
        require_model_of_record(model, trajectory)
        return FlowRun(settings, trajectory, sigmas)

    return whole_runs(new_run)


def solver_sampler(settings: FlowSettings, trajectory: Trajectory | None) -> comfy.samplers.KSAMPLER:
    """The same as a SAMPLER of ComfyUI."""
    return comfy.samplers.KSAMPLER(flow_sampler(settings, trajectory))


def require_model_of_record(model: Any, trajectory: Trajectory | None) -> None:
    """Raises unless a sampler's model is a flow model, and the one that made the trajectory.

    A SAMPLER learns of the model only when the run begins, which is still before the first step.
    """
    patcher = model.inner_model.model_patcher  # of the guider inside KSampler's inpainting wrapper
    require_flow_model(patcher)
    if trajectory is not None:
        trajectory.check_fits(identity_of(patcher))


class FlowRun(SampledRun):
    """One HR run, sampled whole or, where the model changes, in parts that share state and solver."""

    def __init__(
        self,
        settings: FlowSettings,
        trajectory: Trajectory | None,
        sigmas: Tensor,
        recorder: TrajectoryRecorder | None = None,
    ):
        super().__init__(sigmas)
        self.recorder = recorder  # of this run, for one that goes on from it to a still larger size
        self.settings = settings
        self.trajectory = trajectory
        self.record: RecordAtHighRes | None = None
        self.solvers: list[StreamSolver] = []  # of the streams that the state splits into
        # What the solvers remember of whole steps: a step that is stopped or fails leaves nothing behind.
        self.remembered: list[dict[str, tuple[Node, ...]]] = []
        self.skipped: set[int] = set()

    def begin(self, model: Any, x: Tensor) -> None:
        settings = self.settings
        video, *rest = self.streams.split(x)
        base_model = model.inner_model.inner_model
        self.to_latent_space: Callable[[Tensor], Tensor] = base_model.process_latent_out
        if self.trajectory is not None:
            to_model_space = base_model.process_latent_in
            self.record = RecordAtHighRes(
                self.trajectory, to_model_space, video, self.sigmas, settings.switch_sigma
            )
            if settings.follows_record:
                self.record.require_its_steps(settings.way_back)
        self.solvers = [self.solver_of_video(), *(self.solver_of_rest() for _ in rest)]
        self.completed()
        self.skipped = steps_to_skip(settings, self.record)
        if settings.switch_sigma is not None:
            # A forecast needs two velocities of the expert that has just begun.
            begun = steps_above(self.sigmas, settings.switch_sigma)
            self.skipped -= {begun, begun + 1}

    def solver_of_video(self) -> StreamSolver:
        settings, record = self.settings, self.record
        needs_field = settings.order > 1 and settings.source in RECORD_SOURCES
        field = record.field if record is not None and needs_field else None
        solver = FlowSolver(settings.order, settings.source, field, settings.switch_sigma)
        return StreamSolver(solver, None if record is None else record.field)

    def solver_of_rest(self) -> StreamSolver:
        """The small run's sound was finished and says nothing about what is sampled again here."""
        source = "none" if self.settings.source == "none" else "history"
        return StreamSolver(FlowSolver(self.settings.order, source, None, self.settings.switch_sigma))

    def denoised(self, guided: GuidedModel, x: Tensor, i: int) -> Tensor:
        sigma = self.sigmas[i]
        states = self.streams.split(x)
        if i in self.skipped:
            cleans = [
                solver.forecast(state, sigma) for solver, state in zip(self.solvers, states, strict=True)
            ]
        else:
            cleans = list(self.streams.split(guided.denoised(x, sigma)))
            for solver, state, clean in zip(self.solvers, states, cleans, strict=True):
                solver.remember(state, clean, sigma)
        cleans[0] = self.aligned(cleans[0], guided, i)
        return self.streams.joined(cleans)

    def aligned(self, clean: Tensor, guided: GuidedModel, i: int) -> Tensor:
        """The video's clean estimate with its coarse part drawn to the small run's."""
        if self.record is None or self.settings.alignment == 0:
            return clean
        strength = decaying_strength(self.settings.alignment, i, self.steps)
        aligned = align_low_frequencies(clean, self.record.denoised(i), strength)
        # A start image may have been replaced by a sharper one, which the small run does not know.
        return aligned if guided.mask is None else clean.lerp(aligned, self.streams.split(guided.mask)[0])

    def advance(self, x: Tensor, denoised: Tensor, i: int) -> Tensor:
        states, cleans = self.streams.split(x), self.streams.split(denoised)
        if self.recorder is not None:
            sigma, video, clean = self.sigmas[i], states[0], cleans[0]
            self.recorder.record(sigma, self.to_latent_space(clean), noise_estimate(video, clean, sigma))
        parts = zip(self.solvers, states, cleans, strict=True)
        return self.streams.joined(
            [solver.step(state, clean, self.sigmas, i) for solver, state, clean in parts]
        )

    def completed(self) -> None:
        self.remembered = [solver.remembered for solver in self.solvers]

    def state(self) -> RunState:
        state = super().state()
        tensors, values = dict(state.tensors), dict(state.values)
        for n, remembered in enumerate(self.remembered):
            for name, nodes in remembered.items():
                values[f"{n}.{name}"] = [node.sigma for node in nodes]
                tensors |= {f"{n}.{name}.{i}": node.velocity for i, node in enumerate(nodes)}
        if self.recorder is not None:
            tensors |= {
                f"{RECORDED}{name}": kept for name, kept in self.recorder.state(self.position).items()
            }
        return RunState(state.position, tensors, values)

    def restore(self, state: RunState) -> None:
        super().restore(state)
        assert self.x is not None, "SampledRun.restore has set it"
        streams = zip(self.solvers, self.streams.split(self.x), strict=True)
        for n, (solver, stream) in enumerate(streams):
            solver.recall({name: self.nodes_of(state, f"{n}.{name}", stream) for name in solver.remembered})
        self.completed()
        if self.recorder is not None and state.position:
            done, video = self.sigmas[: state.position].cpu(), self.streams.split(self.x)[0]
            self.recorder.restore(state, RECORDED, done, tuple(video.shape))

    def recorded(self, final: VideoLatent, video: RecordedVideo) -> Trajectory:
        """The record of the finished run. final: its result, in LATENT space.

        Attention is the small run's at the nearest steps, which is kept by share of the frame.
        """
        assert self.recorder is not None, "asked for a record that was not made"
        earlier, settings, sigmas = self.trajectory, self.settings, self.sigmas.cpu()
        record = self.recorder.finish(
            final=final.video,
            token_shape=video.token_shape,
            patch=video.patch,
            model=video.model,
            seconds=self.seconds,
            reach=None if earlier is None else earlier.reach_at(sigmas[:-1]),
            held=video.held,
        )
        switch = self.steps if settings.switch_sigma is None else steps_above(sigmas, settings.switch_sigma)
        return replace(
            video.completed(record, final),
            boundaries=(switch,) if 0 < switch < self.steps else (),
            # Forecast and aligned estimates are recorded as they were used, so Euler's identity holds.
            euler=settings.order == 1 or settings.source == "none",
            chained_from=None if earlier is None else earlier.small_shape,
            step_seconds=None if earlier is None else earlier.step_seconds,
        )

    def nodes_of(self, state: RunState, name: str, stream: Tensor) -> list[Node]:
        """Velocities of a stream (B, ...) as `state` wrote them."""
        shape, dtypes = tuple(stream.shape), (stream.dtype,)
        return [
            Node(sigma, state.tensor(f"{name}.{i}", shape, dtypes).to(stream.device))
            for i, sigma in enumerate(state.sigmas(name, self.sigmas))
        ]

    def end(self) -> None:
        if self.skipped:
            log.info("S²Flow forecast %d of %d model calls", len(self.skipped), self.steps)


def recorder_after(trajectory: Trajectory | None) -> TrajectoryRecorder:
    """In the small run's precision; without one nobody chose, so nothing is rounded."""
    return TrajectoryRecorder(torch.float32 if trajectory is None else trajectory.denoised.dtype)


def steps_to_skip(settings: FlowSettings, record: RecordAtHighRes | None) -> set[int]:
    """The HR steps whose velocity is forecast: those at which the LR run changed least."""
    if record is None or settings.skip_share == 0:
        return set()
    trajectory = record.trajectory
    changes = step_changes(trajectory.sigmas, trajectory.denoised, record.switches)[record.start :]
    return set(choose_skips(changes, settings.skip_share).nonzero().flatten().tolist())
