"""A kept state of a run, however its file was changed, is refused in a sentence or is numbers alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from amounts import Amount
from hypothesis import given, settings
from mutated_files import mutated

from s2flow_core.files.checked_tensors import UnreadableFile
from s2flow_core.files.run_state import ForeignState, RunState, load_run_state, save_run_state

RUN, STEPS = "a1b2", 6


def good_states(folder: Path) -> list[bytes]:
    """A small run's and a large run's state, as samplers keep them."""
    small = {"x": torch.rand(1, 4, 3, 2, 2), "denoised": torch.rand(3, 1, 4, 3, 2, 2).half()}
    large = small | {"sound": torch.rand(1, 8), "rows": torch.arange(4), "held": torch.tensor([True, False])}
    files = []
    for tensors in (small, large):
        state = RunState(3, tensors, {"sigmas": [1.0, 0.75, 0.5], "seconds": 1.5, "skipped": {"2": 1}})
        save_run_state(folder / "good", state, RUN)
        files.append((folder / "good").read_bytes())
    return files


def test_no_changed_state_is_more_than_refused(tmp_path: Path, amount: Callable[[str, int, int], Amount]):
    files = good_states(tmp_path)
    tried = amount("changed states of runs", 150, 2000)
    accepted = []

    @settings(max_examples=tried.number)
    @given(mutated(files))
    def check(changed: bytes) -> None:
        tried.count()
        path = tmp_path / "changed"
        path.write_bytes(changed)
        try:
            state = load_run_state(path, RUN, STEPS)
        except (UnreadableFile, ForeignState) as refused:
            message = str(refused)
            assert message.startswith("changed ") and message.endswith(".")
            message.encode()  # can be shown and logged
        else:
            assert 1 <= state.position <= STEPS
            assert all(torch.isfinite(tensor).all() for tensor in state.tensors.values())
            assert sum(tensor.numel() * tensor.element_size() for tensor in state.tensors.values()) <= len(
                changed
            )
            accepted.append(state)
        assert {file.name for file in tmp_path.iterdir()} <= {"good", "changed"}

    check()
    assert 0.02 * tried.number < len(accepted) < 0.95 * tried.number
