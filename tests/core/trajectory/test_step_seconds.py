"""What a step took: its parts, their medians, two runs in one, and in files of both kinds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from recorded_runs import recorded

from s2flow_core.trajectory.files import load_trajectory, save_trajectory
from s2flow_core.trajectory.step_seconds import StepSeconds, joined, typical


def test_the_rest_is_what_is_neither_attention_nor_capture():
    assert StepSeconds(10.0, 6.0, 1.0).rest == pytest.approx(3.0)
    # Two clocks may differ by what lies between their readings.
    assert StepSeconds(1.0, 0.9, 0.2).rest == 0.0


def test_the_typical_step_is_not_the_first():
    steps = [StepSeconds(90.0, 70.0, 8.0), *(StepSeconds(10.0 + n, 6.0, 1.0 + n) for n in range(4))]
    assert typical(steps) == StepSeconds(12.0, 6.0, 3.0)
    assert typical(steps[:1]) == steps[0]
    assert typical([]) is None


def test_two_runs_count_by_their_steps():
    one, other = StepSeconds(10.0, 6.0, 1.0), StepSeconds(20.0, 8.0, 5.0)
    both = joined(one, other, (3, 1))
    assert both is not None and vars(both) == pytest.approx({"whole": 12.5, "attention": 6.5, "capture": 2.0})
    assert joined(one, None, (3, 1)) is None and joined(None, other, (3, 1)) is None


@pytest.mark.parametrize("wrong", [(-1.0, 0, 0), (1, float("nan"), 0), (1, 0, float("inf"))])
def test_what_is_no_length_of_time_is_refused(wrong):
    with pytest.raises(ValueError, match="no length of time"):
        StepSeconds(*wrong)


@pytest.mark.parametrize("seconds", [None, StepSeconds(2.5, 1.0, 0.5)])
def test_a_file_keeps_them(tmp_path: Path, seconds):
    run = dataclasses.replace(recorded(), step_seconds=seconds)
    save_trajectory(run, tmp_path / "run.safetensors")
    assert load_trajectory(tmp_path / "run.safetensors").step_seconds == seconds


def test_a_file_of_an_earlier_version_has_none():
    former = Path(__file__).parents[2] / "host" / "former" / "trajectory.s2flow.safetensors"
    assert load_trajectory(former).step_seconds is None
