"""A trajectory as a safetensors file."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, cast

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..latent.extra_frames import ExtraFrames
from ..latent.held_latent import HeldLatent
from ..reach.record import AttentionReach
from .trajectory import ModelIdentity, Trajectory

FORMAT = "s2flow.trajectory"
VERSION = 1
_REACH_PREFIX = "reach."
_HELD_PREFIX = "held."
_BESIDE_PREFIX = "beside."
_TENSORS = ("sigmas", "denoised", "noise", "final")
_HELD = ("latent", "mask")
# With what stands for a value that files of earlier versions lack; None: every file has it.
_VALUES: dict[str, Any] = {"token_shape": None, "patch": None, "seconds": None, "boundaries": []}


# The library's own type leaves open what a path is.
save_file: Callable[[dict[str, Tensor], str, dict[str, str]], None] = cast(Any, safetensors.torch).save_file


class _OpenFile(Protocol):
    """What safetensors opens, which it gives no types."""

    def metadata(self) -> dict[str, str] | None: ...

    def keys(self) -> Iterable[str]: ...

    def get_tensor(self, name: str) -> Tensor: ...


def save_trajectory(trajectory: Trajectory, path: str | Path) -> None:
    """Write a safetensors file; the old file stays whole until the new one is complete."""
    path = Path(path)
    tensors = {name: getattr(trajectory, name) for name in _TENSORS}
    if trajectory.held is not None:
        tensors |= {f"{_HELD_PREFIX}{name}": getattr(trajectory.held, name) for name in _HELD}
    tensors |= {f"{_BESIDE_PREFIX}{number}": stream for number, stream in enumerate(trajectory.beside)}
    reach_values = None
    if trajectory.reach is not None:
        fields = {f.name: getattr(trajectory.reach, f.name) for f in dataclasses.fields(trajectory.reach)}
        tensors |= {
            _REACH_PREFIX + name: value for name, value in fields.items() if isinstance(value, Tensor)
        }
        reach_values = {name: value for name, value in fields.items() if not isinstance(value, Tensor)}
    values = {name: getattr(trajectory, name) for name in _VALUES}
    values |= {"model": dataclasses.asdict(trajectory.model), "reach": reach_values}
    values["extra"] = dataclasses.asdict(trajectory.extra)
    values["held_released_at"] = None if trajectory.held is None else trajectory.held.released_at
    metadata = {"format": FORMAT, "version": str(VERSION), "values": json.dumps(values)}
    # In the same folder, because only a rename within one file system is atomic.
    handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, unfinished, metadata)
        os.replace(unfinished, path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise


def load_trajectory(path: str | Path) -> Trajectory:
    """Read a file of `save_trajectory`; a ValueError says what is wrong with a broken or foreign one."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(
            f"There is no trajectory file at {path}. Save one with S²Flow Save Trajectory first."
        )
    try:
        values, tensors = _contents(path)
        held = {name: tensors[_HELD_PREFIX + name] for name in _HELD if _HELD_PREFIX + name in tensors}
        return Trajectory(
            **{name: tensors[name] for name in _TENSORS},
            **{name: _tuples(values.get(name, default)) for name, default in _VALUES.items()},
            reach=_reach_of(values["reach"], tensors),
            model=ModelIdentity(**values["model"]),
            held=HeldLatent(**held, released_at=values.get("held_released_at")) if held else None,
            beside=_beside_of(tensors),
            extra=ExtraFrames(**{name: _tuples(value) for name, value in values.get("extra", {}).items()}),
        )
    except (SafetensorError, json.JSONDecodeError, KeyError, TypeError) as problem:
        raise ValueError(
            f"{path.name} is damaged or was not written completely ({problem}). Save the trajectory again."
        ) from problem


def _contents(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A trajectory file's values and tensors; raises ValueError for another kind of file or version."""
    opened = cast(AbstractContextManager[_OpenFile], safe_open(path, "pt"))
    with opened as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise ValueError(f"{path.name} is not an S²Flow trajectory but another safetensors file.")
        if metadata.get("version") != str(VERSION):
            raise ValueError(
                f"{path.name} has trajectory format version {metadata.get('version')}; this pack reads "
                f"version {VERSION}. Update the pack, or run the Low-Res Sampler again."
            )
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    values = json.loads(metadata["values"])
    missing = [name for name, default in _VALUES.items() if default is None and name not in values]
    if missing:
        raise KeyError(", ".join(missing))
    return values, tensors


def _reach_of(values: dict[str, Any] | None, tensors: dict[str, Tensor]) -> AttentionReach | None:
    """The attention record of a file; None if the run recorded none."""
    if values is None:
        return None
    recorded = {n.removeprefix(_REACH_PREFIX): t for n, t in tensors.items() if n.startswith(_REACH_PREFIX)}
    return AttentionReach(**recorded, **{name: _tuples(value) for name, value in values.items()})


def _beside_of(tensors: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """The streams beside the video; files of earlier versions have none."""
    count = sum(name.startswith(_BESIDE_PREFIX) for name in tensors)
    return tuple(tensors[f"{_BESIDE_PREFIX}{number}"] for number in range(count))


def _tuples(value: Any) -> Any:
    """JSON knows lists only; the dataclasses hold tuples."""
    if not isinstance(value, list):
        return value
    return tuple(_tuples(item) for item in cast(list[Any], value))
