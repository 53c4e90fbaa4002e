"""A trajectory as a safetensors file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from ..files.checked_tensors import DamagedFile, FileHeader, StoredTensor, UnreadableFile, read_checked
from ..files.written_whole import write_numbered, write_whole
from ..latent.finite import all_finite
from ..latent.flow import check_sigmas
from ..latent.held_latent import HeldLatent
from ..reach.record import AttentionReach
from .stored_form import (
    BESIDE,
    FORMAT,
    HELD_TENSORS,
    MASS,
    RECORD,
    TENSORS,
    VERSION,
    StoredValues,
    check_header,
)
from .trajectory import Trajectory

_MOST_MASS = 1.01  # a share of 1 that was rounded to half precision


def save_trajectory(trajectory: Trajectory, path: str | Path) -> None:
    """Write a safetensors file; the old file stays whole until the new one is complete.

    Raises `files.written_whole.NotWritten` where the drive or the folder is at fault, ValueError for a
    trajectory that could not be loaded again.
    """
    write_whole(path, *_loadable(trajectory), replace=True)


def save_numbered_trajectory(trajectory: Trajectory, pattern: Callable[[int], Path], first: int) -> Path:
    """Write it under the first free name of pattern(first), pattern(first + 1), …; returns that name."""
    return write_numbered(pattern, first, *_loadable(trajectory))


def load_trajectory(path: str | Path) -> Trajectory:
    """Read a file of `save_trajectory`; a ValueError says what is wrong with a broken or foreign one."""
    path = Path(path)
    if not path.exists():
        raise UnreadableFile(
            f"There is no trajectory file at {path}. Save one with S²Flow Save Trajectory first."
        )
    try:
        values, tensors = read_checked(path, lambda header: check_header(header, path.name))
    except DamagedFile as problem:
        raise DamagedFile(f"{problem} Save the trajectory again.") from problem
    try:
        _check_numbers(tensors)
    except DamagedFile as problem:
        raise DamagedFile(f"{path.name} is damaged: {problem}. Save the trajectory again.") from problem
    return _trajectory_of(values, tensors)


def _loadable(trajectory: Trajectory) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata as the file will hold them, having passed all that loading will ask of them."""
    tensors, metadata = tensors_of(trajectory), _metadata_of(trajectory)
    stored = {name: StoredTensor(tensor.dtype, tuple(tensor.shape), 0) for name, tensor in tensors.items()}
    try:
        check_header(FileHeader(metadata, stored), "The trajectory")
        for name, tensor in tensors.items():
            if not all_finite(tensor):
                raise DamagedFile(f"the tensor {name!a} holds NaN or infinity")
        _check_numbers(tensors)
    except DamagedFile as problem:
        raise ValueError(
            f"This trajectory could not be loaded again, so it is not saved: {problem}. Run the Low-Res "
            "Sampler again."
        ) from problem
    return tensors, metadata


def tensors_of(trajectory: Trajectory) -> dict[str, Tensor]:
    """Every tensor of a trajectory, by its name in the file."""
    tensors = {name: getattr(trajectory, name) for name in TENSORS}
    if trajectory.held is not None:
        tensors |= zip(HELD_TENSORS, (trajectory.held.latent, trajectory.held.mask))
    tensors |= {f"{BESIDE}{number}": stream for number, stream in enumerate(trajectory.beside)}
    if trajectory.reach is not None:
        tensors |= {RECORD[field]: values for field, values in trajectory.reach.tensors.items()}
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
        "euler": trajectory.euler,
        "chained_from": trajectory.chained_from,
        "step_seconds": trajectory.step_seconds and dataclasses.asdict(trajectory.step_seconds),
        "held_released_at": None if trajectory.held is None else trajectory.held.released_at,
    }
    return {"format": FORMAT, "version": str(VERSION), "values": json.dumps(values)}


def _check_numbers(tensors: dict[str, Tensor]) -> None:
    """What only the numbers themselves show; that they are finite is known."""
    try:
        check_sigmas(tensors["sigmas"], "its record", to_zero=False)
    except ValueError as problem:
        raise DamagedFile(str(problem).rstrip(".")) from problem
    mass = tensors.get(MASS)
    if mass is not None and (mass.min() < 0 or mass.max() > _MOST_MASS):
        raise DamagedFile(f"{MASS} holds something else than shares from 0 to 1")


def _trajectory_of(values: StoredValues, tensors: dict[str, Tensor]) -> Trajectory:
    held = None
    if HELD_TENSORS[0] in tensors:
        held = HeldLatent(*(tensors[name] for name in HELD_TENSORS), released_at=values.held_released_at)
    reach = None
    if values.reach is not None:
        grid, knots = values.reach.grid, values.reach.knots
        recorded = {field: tensors[name] for field, name in RECORD.items() if name in tensors}
        reach = AttentionReach(shape=grid.shape, tile=grid.tile, knots=knots, **recorded)
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
        euler=values.euler,
        chained_from=values.chained_from,
        step_seconds=values.step_seconds,
        beside=tuple(tensors[f"{BESIDE}{number}"] for number in range(values.beside)),
    )
