"""A kept state comes back as it was, and only to the run that it belongs to."""

from __future__ import annotations

import json

import pytest
import torch

from s2flow_core.files.checked_tensors import DamagedFile
from s2flow_core.files.run_state import ForeignState, RunState, load_run_state, save_run_state
from s2flow_core.files.written_whole import write_whole

STATE = RunState(
    3, {"x": torch.arange(6.0).view(1, 2, 3), "u": torch.ones(2).half()}, {"seconds": 1.25, "s": [0.9, 0.1]}
)


def test_it_comes_back_to_the_bit(tmp_path):
    save_run_state(tmp_path / "a", STATE, "run")
    found = load_run_state(tmp_path / "a", "run", 8)
    assert (found.position, found.values) == (3, STATE.values)
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in STATE.tensors.items())


def test_the_newest_replaces_the_last(tmp_path):
    for position in (1, 2):
        save_run_state(tmp_path / "a", RunState(position, STATE.tensors, {}), "run")
    assert load_run_state(tmp_path / "a", "run", 8).position == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def metadata(**changes):
    good = {"format": "s2flow run", "version": "2", "run": "run", "position": "3", "values": "{}"}
    return good | changes


@pytest.mark.parametrize(
    "changes", [{"run": "another"}, {"version": "1"}, {"version": "0"}, {"format": "s2flow trajectory"}]
)
def test_what_belongs_to_another_is_left_alone(tmp_path, changes):
    write_whole(tmp_path / "a", STATE.tensors, metadata(**changes), replace=True)
    with pytest.raises(ForeignState):
        load_run_state(tmp_path / "a", "run", 8)


@pytest.mark.parametrize(
    "changes",
    [{"position": p} for p in ("0", "-1", "9", "3.0", "true", '"3"', "null", "1e999", "")]
    + [{"values": v} for v in ("[]", "3", "{", '{"a": NaN}', '{"a": 1, "a": 2}')],
)
def test_values_that_make_no_sense_are_damage(tmp_path, changes):
    write_whole(tmp_path / "a", STATE.tensors, metadata(**changes), replace=True)
    with pytest.raises(DamagedFile):
        load_run_state(tmp_path / "a", "run", 8)


@pytest.mark.parametrize(
    ("name", "shape", "dtypes"),
    [
        ("y", (1, 2, 3), (torch.float32,)),
        ("x", (1, 2), (torch.float32,)),
        ("x", (1, 2, 4), (torch.float32,)),
        ("x", (None, None), (torch.float32,)),
        ("x", (1, 2, 3), (torch.float16,)),
    ],
)
def test_a_tensor_of_another_form_is_refused(name, shape, dtypes):
    with pytest.raises(DamagedFile, match=f"'{name}'"):
        STATE.tensor(name, shape, dtypes)


def test_a_tensor_of_the_form_asked_for_is_given():
    assert STATE.tensor("x", (1, None, 3)) is STATE.tensors["x"]


@pytest.mark.parametrize("values", [[0.5], [0.9, "0.1"], [True], "0.9", None, [0.9, [0.1]]])
def test_sigmas_that_stand_in_no_schedule_are_refused(values):
    schedule = torch.tensor([0.9, 0.1], dtype=torch.float64)
    with pytest.raises(DamagedFile, match="sigmas"):
        RunState(1, {}, {"s": values}).sigmas("s", schedule)


def test_sigmas_survive_their_way_through_text():
    schedule = torch.rand(20, generator=torch.Generator().manual_seed(0))
    kept = json.loads(json.dumps([float(sigma) for sigma in schedule]))
    assert RunState(1, {}, {"s": kept}).sigmas("s", schedule) == schedule.tolist()
