"""Which frames are references or guides stays known in files, in batches and in runs that go on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from recorded_runs import recorded

from s2flow_core.latent.extra_frames import NO_EXTRA_FRAMES, ExtraFrames
from s2flow_core.trajectory.files import load_trajectory, save_trajectory


@pytest.mark.parametrize(
    "extra",
    [
        NO_EXTRA_FRAMES,
        ExtraFrames((1,)),
        ExtraFrames((1,), (1,)),
        ExtraFrames((1, 1)),
        ExtraFrames(behind=(2,)),
    ],
    ids=str,
)
def test_extra_frames_are_saved(tmp_path: Path, extra: ExtraFrames):
    run = dataclasses.replace(recorded(), extra=extra)
    save_trajectory(run, tmp_path / "run.safetensors")
    assert load_trajectory(tmp_path / "run.safetensors").extra == extra
    assert run.of_video(0).extra == extra
