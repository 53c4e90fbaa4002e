"""The recorder keeps every step as it was, and refuses what it cannot hold."""

from __future__ import annotations

import pytest
import torch
from recorded_runs import MODEL, STEPS, recorded

from s2flow_core.latent.flow import shifted_sigmas
from s2flow_core.trajectory.recorder import TrajectoryRecorder


def test_recorder_keeps_every_step():
    trajectory = recorded()
    assert (trajectory.steps, trajectory.batch, trajectory.latent_shape) == (STEPS, 1, (1, 4, 3, 4, 6))
    torch.testing.assert_close(trajectory.sigmas, shifted_sigmas(STEPS, 3.0))
    assert trajectory.denoised.dtype == trajectory.noise.dtype == torch.float16
    assert trajectory.final.dtype == torch.float32


def test_recorder_owns_its_tensors():
    recorder = TrajectoryRecorder(torch.float32)
    buffer = torch.zeros(1, 1, 1, 2, 2)
    recorder.record(1.0, buffer, buffer)
    buffer.fill_(7)
    assert recorder.finish(buffer, (1, 1, 1), (1, 2, 2), MODEL, 0.0).denoised.abs().max() == 0


@pytest.mark.parametrize("value", [7e4, -1e6, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["clean", "noise"])
def test_recorder_refuses_at_its_step_what_half_precision_cannot_hold(value, name):
    recorder = TrajectoryRecorder()
    good, bad = torch.zeros(1, 1, 1, 2, 2), torch.full((1, 1, 1, 2, 2), value)
    recorder.record(1.0, good, good)
    with pytest.raises(ValueError, match=rf"{name} estimate of step 2 .*up to 6.55e\+04.*precision to full"):
        recorder.record(0.5, *((bad, good) if name == "clean" else (good, bad)))
