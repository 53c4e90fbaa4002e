"""A trajectory as a safetensors file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from ..files.checked_tensors import DamagedFile, UnreadableFile, read_checked
from ..files.written_whole import write_numbered, write_whole
from ..latent.flow import check_sigmas
from ..latent.held_latent import HeldLatent
from ..reach.record import AttentionReach
from .stored_form import (
    BESIDE,
    ERROR,
    FORMAT,
    HELD_TENSORS,
    MASS,
    NOTHING,
    TENSORS,
    VERSION,
    StoredValues,
    check_header,
)
from .trajectory import Trajectory

_MOST_MASS = 1.01  # a share of 1 that was rounded to half precision


def save_trajectory(trajectory: Trajectory, path: str | Path) -> None:
    """Write a safetensors file; the old file stays whole until the new one is complete.

    Raises `files.written_whole.NotWritten` where the drive or the folder is at fault.
    """
    write_whole(path, tensors_of(trajectory), _metadata_of(trajectory), replace=True)


def save_numbered_trajectory(trajectory: Trajectory, pattern: Callable[[int], Path], first: int) -> Path:
    """Write it under the first free name of pattern(first), pattern(first + 1), …; returns that name."""
    return write_numbered(pattern, first, tensors_of(trajectory), _metadata_of(trajectory))


def load_trajectory(path: str | Path) -> Trajectory:
    """Read a file of `save_trajectory`; a ValueError says what is wrong with a broken or foreign one."""
    path = Path(path)
    if not path.exists():
        raise UnreadableFile(
            f"There is no trajectory file at {path}. Save one with S²Flow Save Trajectory first."
        )
    try:
        values, tensors = read_checked(path, lambda header: check_header(header, path.name))
        _check_numbers(path, tensors)
    except DamagedFile as problem:
        raise DamagedFile(f"{problem} Save the trajectory again.") from problem
    return _trajectory_of(values, tensors)


def tensors_of(trajectory: Trajectory) -> dict[str, Tensor]:
    """Every tensor of a trajectory, by its name in the file."""
    tensors = {name: getattr(trajectory, name) for name in TENSORS}
    if trajectory.held is not None:
        tensors |= zip(HELD_TENSORS, (trajectory.held.latent, trajectory.held.mask))
    tensors |= {f"{BESIDE}{number}": stream for number, stream in enumerate(trajectory.beside)}
    if trajectory.reach is not None:
        tensors[MASS] = trajectory.reach.mass
        for name, values in ((ERROR, trajectory.reach.error), (NOTHING, trajectory.reach.nothing)):
            if values is not None:
                tensors[name] = values
    return tensors


def _metadata_of(trajectory: Trajectory) -> dict[str, str]:
    reach = trajectory.reach
    values = {
        "token_shape": trajectory.token_shape,
        "patch": trajectory.patch,
        "seconds": trajectory.seconds,
        "boundaries": trajectory.boundaries,
        "model": dataclasses.asdict(trajectory.model),
        "reach": None
        if reach is None
        else {"shape": reach.shape, "tile": reach.tile, "knots": reach.extents},
        "extra": dataclasses.asdict(trajectory.extra),
    }
    return {"format": FORMAT, "version": str(VERSION), "values": json.dumps(values)}


def _check_numbers(path: Path, tensors: dict[str, Tensor]) -> None:
    """What only the numbers themselves show; that they are finite is known."""
    try:
        check_sigmas(tensors["sigmas"], "its record", to_zero=False)
    except ValueError as problem:
        raise DamagedFile(f"{path.name} is damaged: {problem}") from problem
    mass = tensors.get(MASS)
    if mass is not None and (mass.min() < 0 or mass.max() > _MOST_MASS):
        raise DamagedFile(f"{path.name} is damaged: {MASS} holds something else than shares from 0 to 1.")


def _trajectory_of(values: StoredValues, tensors: dict[str, Tensor]) -> Trajectory:
    held = HeldLatent(*(tensors[name] for name in HELD_TENSORS)) if HELD_TENSORS[0] in tensors else None
    reach = None
    if values.reach is not None:
        grid, knots = values.reach.grid, values.reach.knots
        error, nothing = tensors.get(ERROR), tensors.get(NOTHING)
        reach = AttentionReach(tensors[MASS], grid.shape, grid.tile, error, knots, nothing)
    return Trajectory(
        **{name: tensors[name] for name in TENSORS},
        reach=reach,
        token_shape=values.token_shape,
        patch=values.patch,
        model=values.model,
        seconds=values.seconds,
        boundaries=values.boundaries,
        held=held,
        extra=values.extra,
        beside=tuple(tensors[f"{BESIDE}{number}"] for number in range(values.beside)),
    )
