"""No kernel computes anything of a video before it was right in a small call, and a failure ends no run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from backend_doubles import a_call, add_kernel, not_a_number, raises, right, speeds, wrong_in_one_row

from s2flow_core.attention import choice
from s2flow_core.attention.backends import torch_boxes
from s2flow_core.attention.call import AttentionCall, VisitedKeys
from s2flow_core.attention.choice import BackendChooser
from s2flow_core.attention.errors import BackendRefused
from s2flow_core.attention.measured_rates import MeasuredRates
from s2flow_core.windows.grid import TokenGrid

GRID = TokenGrid((2, 8, 8), (1, 2, 2))


@pytest.mark.parametrize("small", [True, False], ids=["counted", "measured"])
@pytest.mark.parametrize(
    ("run", "words"),
    [
        (wrong_in_one_row, "gives wrong numbers (relative error 0."),
        (not_a_number, "gives wrong numbers (relative error nan"),
        (raises, "failed (no kernel image is available for execution on the device)"),
        (None, ""),
    ],
    ids=["wrong", "nan", "raises", "missing"],
)
def test_a_kernel_that_cannot_be_trusted_is_left_out_with_one_sentence(
    monkeypatch, caplog, run, words, small
):
    if not small:
        monkeypatch.setattr(choice, "_SMALL_CPU_FLOPS", 0.0)
        monkeypatch.setattr(choice, "rate", lambda computes, call: 1e10 if computes.name == "dense" else 1e14)
    kernel = add_kernel(monkeypatch, run)
    grid = TokenGrid((5, 16, 16), (1, 4, 4))
    call = a_call(grid, ((5, 2, 2), (1, 4, 2)), dim=128)
    chooser = BackendChooser()
    for _ in range(3):
        assert chooser.choose(call).backend == "torch_boxes"
        assert torch.equal(chooser.compute(call), torch_boxes.run(call))
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == (run is not None)
    for line in said:
        assert f"'{kernel.name}' {words}" in line and "this cpu" in line and "report" in line
    if run is not None and run is not raises:
        with pytest.raises(BackendRefused, match="wrong numbers"):
            BackendChooser(kernel.name).compute(call)
    if run is None:
        with pytest.raises(BackendRefused, match="could not be loaded"):
            BackendChooser(kernel.name).compute(call)


@pytest.mark.parametrize("share", [0.015, 0.03])
@pytest.mark.parametrize("eight_bits", [False, True])
def test_a_kernel_of_eight_bits_may_differ_by_its_rounding_and_no_more(monkeypatch, share, eight_bits):
    kernel = add_kernel(monkeypatch, lambda call: right(call) * (1 + share), eight_bits)
    chooser, call = BackendChooser(kernel.name), a_call(GRID, ((1, 2, 2), (2, 1, 4)))
    if eight_bits and share < 0.02:
        assert torch.equal(chooser.compute(call), right(call) * (1 + share))
        return
    with pytest.raises(BackendRefused, match="wrong numbers"):
        chooser.compute(call)


def test_a_right_kernel_is_checked_once_on_this_machine(monkeypatch, tmp_path):
    calls: list[AttentionCall] = []
    add_kernel(monkeypatch, lambda call: calls.append(call) or right(call))
    speeds(monkeypatch, dense=1e10, torch_boxes=1e10, doubled=1e14)
    call = a_call(GRID, ((1, 2, 2), (2, 1, 4)))
    path = tmp_path / "speeds.json"
    for process in range(2):
        chooser = BackendChooser("auto", MeasuredRates(path))
        for _ in range(2):
            assert torch.equal(chooser.compute(call), right(call))
        assert len(calls) == 1 + 2 * (process + 1)
    with pytest.raises(RuntimeError):
        add_kernel(monkeypatch, raises)
        BackendChooser("doubled", MeasuredRates()).compute(call)


def test_a_failure_in_the_middle_is_survived_and_forgotten_with_the_run(monkeypatch, caplog):
    """The check passes and a real call fails: the next best computes, and the next run tries again."""
    tries: list[int] = []

    def breaks(call: AttentionCall):
        if call.q.shape[2] == GRID.tokens:
            tries.append(1)
            raise RuntimeError("misaligned address")
        return right(call)

    add_kernel(monkeypatch, breaks)
    speeds(monkeypatch, dense=1e10, torch_boxes=1e13, doubled=1e14)
    call, rates = a_call(GRID, ((1, 2, 2), (2, 1, 4))), MeasuredRates()
    for run in range(2):
        chooser = BackendChooser("auto", rates)
        for _ in range(3):
            stats = VisitedKeys()
            assert torch.equal(chooser.compute(replace(call, stats=stats)), right(call))
            assert stats.possible == 2 * GRID.tokens**2
        assert len(tries) == run + 1
        assert caplog.text.count("failed (misaligned address)") == run + 1


def test_too_little_memory_is_the_callers_to_mend(monkeypatch):
    """A smaller piece of the same call may fit; the backend is not to blame."""

    def full(call: AttentionCall):
        if call.q.shape[2] == GRID.tokens:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return right(call)

    add_kernel(monkeypatch, full)
    speeds(monkeypatch, dense=1e10, torch_boxes=1e13, doubled=1e14)
    chooser = BackendChooser()
    with pytest.raises(torch.cuda.OutOfMemoryError):
        chooser.compute(a_call(GRID, ((1, 2, 2),)))
    assert chooser.choose(a_call(GRID, ((1, 2, 2),))).backend == "doubled"
