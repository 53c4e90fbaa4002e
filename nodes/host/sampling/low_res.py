"""The LR run: Euler that writes down every step, whole or in parts under two experts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ....s2flow_core.latent.flow import noise_estimate
from ....s2flow_core.solver.flow_solver import FlowSolver
from ....s2flow_core.trajectory.recorder import TrajectoryRecorder
from ..attention.capture import AttentionCapture
from .guided import GuidedModel, Part


@dataclass
class RecordedPart:
    """The steps that one guider takes, and what writes them down."""

    guider: Any
    steps: slice
    recorder: TrajectoryRecorder
    capture: AttentionCapture | None = None


@dataclass
class RecordingRun:
    """Parts that run in order. The state passes between them in here, as in FlowRun, to keep its digits."""

    sigmas: Tensor
    x: Tensor | None = None
    solver: FlowSolver = field(default_factory=lambda: FlowSolver(order=1, source="none"))

    def part(self, recorded: RecordedPart) -> Part:
        """The part as `sample_in_parts` takes it."""
        recorder, capture, steps = recorded.recorder, recorded.capture, recorded.steps
        to_latent_space = recorded.guider.model_patcher.model.process_latent_out

        @torch.no_grad()
        def sample(
            model: Callable,
            x: Tensor,
            sigmas: Tensor,
            extra_args: dict[str, Any],
            callback: Callable | None = None,
            disable: bool = False,
        ) -> Tensor:
            guided = GuidedModel(model, x, extra_args)
            x = x if self.x is None else self.x.to(x)
            sigmas = self.sigmas.to(x.device)
            for i in range(steps.start, steps.stop):
                if capture is not None:
                    capture.begin_step(i - steps.start)
                denoised = guided.denoised(x, sigmas[i])
                recorder.record(sigmas[i], to_latent_space(denoised), noise_estimate(x, denoised, sigmas[i]))
                if callback is not None:
                    callback({"i": i, "denoised": denoised, "x": x})
                x = self.solver.step(x, denoised, sigmas, i)
            self.x = x
            return x

        return Part(recorded.guider, steps, sample, capture)
