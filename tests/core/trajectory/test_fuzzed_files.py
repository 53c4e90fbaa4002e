"""A file, however it was changed, is refused in a sentence or sound: nothing crashes, no NaN comes in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from amounts import Amount
from hypothesis import given, settings
from mutated_files import bytes_of_run, good_runs, mutated

from s2flow_core.files.checked_tensors import UnreadableFile
from s2flow_core.trajectory.files import load_trajectory, save_trajectory, tensors_of
from s2flow_core.trajectory.trajectory import Trajectory


@pytest.fixture
def allocated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of every tensor that was made by `torch.empty`, which is how files are read."""
    sizes: list[int] = []
    make = torch.empty

    def counted(*given: Any, **named: Any) -> torch.Tensor:
        made = make(*given, **named)
        sizes.append(made.numel() * made.element_size())
        return made

    monkeypatch.setattr(torch, "empty", counted)
    return sizes


def check_sound(run: Trajectory) -> None:
    """What every later step takes for granted of a trajectory."""
    latent, steps = run.latent_shape, run.steps
    assert steps >= 1 and len(latent) == 5 and min(latent) >= 1
    assert run.noise.shape == run.denoised.shape and tuple(run.final.shape) == latent
    assert run.sigmas.shape == (steps + 1,) and (run.sigmas.diff() < 0).all()
    assert all(torch.isfinite(tensor).all() for tensor in tensors_of(run).values())
    assert all(1 <= step < steps for step in run.boundaries)
    assert all(
        -(-size // cells) == tokens for size, cells, tokens in zip(latent[2:], run.patch, run.token_shape)
    )
    if run.reach is not None:
        assert run.reach.mass.shape == (
            steps,
            run.model.layers,
            run.model.heads,
            *map(len, run.reach.extents),
        )


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if dataclasses.is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(one))
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_no_changed_file_is_more_than_refused(
    tmp_path: Path, amount: Callable[[str, int, int], Amount], allocated: list[int]
):
    files = [bytes_of_run(run, tmp_path) for run in good_runs()]
    tried = amount("changed trajectory files", 300, 4000)
    accepted = []

    @settings(max_examples=tried.number)
    @given(mutated(files))
    def check(changed: bytes) -> None:
        tried.count()
        path = tmp_path / "changed"
        path.write_bytes(changed)
        allocated.clear()
        try:
            run = load_trajectory(path)
        except UnreadableFile as refused:
            message = str(refused)
            assert message.startswith("changed ") and message.endswith(".") and len(message) < 500
            message.encode()  # can be shown and logged
            assert sum(allocated) <= len(changed)
        else:
            assert sum(allocated) <= len(changed)
            check_sound(run)
            save_trajectory(run, tmp_path / "again")
            assert same(load_trajectory(tmp_path / "again"), run)
            accepted.append(run)
        assert {file.name for file in tmp_path.iterdir()} <= {"good", "changed", "again"}

    check()
    # Were nothing refused or nothing accepted, the changes would be too small or too coarse to find anything.
    assert 0.02 * tried.number < len(accepted) < 0.9 * tried.number
