"""What a trajectory file must hold, checked before its tensors are read: a file may come from anywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch

from ..files.checked_tensors import DamagedFile, FileHeader, UnreadableFile
from ..latent.extra_frames import ExtraFrames
from ..reach.record import RECORDED, RECORDED_PER_HEAD
from ..windows.grid import TokenGrid, Triple
from ..windows.ladder import Knots, every_extent
from .step_seconds import StepSeconds
from .trajectory import ModelIdentity

FORMAT = "s2flow.trajectory"
VERSION = 3
_READABLE = ("1", "2", str(VERSION))
"""1 recorded every extent, in other tiles, and not the error of seeing nothing; 2 no errors with a tail."""

REACH, HELD, BESIDE = "reach.", "held.", "beside."
TENSORS = ("sigmas", "denoised", "noise", "final")
HELD_TENSORS = (f"{HELD}latent", f"{HELD}mask")
RECORD = {field: f"{REACH}{field}" for field in RECORDED}
"""The tensors of an attention record, by their field."""

MASS = RECORD["mass"]

_FLOATS = (torch.float16, torch.bfloat16, torch.float32)
_MOST_STEPS = 10_000
_MOST_BESIDE = 64  # streams; models have one or two
_LONGEST_NAME = 200
_MOST_TOKENS = 1 << 20  # along one axis
_MOST_CELLS = 1024  # of a patch or tile along one axis


@dataclass(frozen=True)
class StoredReach:
    """The grid of an attention record, and the extents that it holds."""

    grid: TokenGrid
    knots: Knots


@dataclass(frozen=True)
class StoredValues:
    """What of a `Trajectory` is no tensor, and how many streams stand beside the video.

    reach: where the attention record was made, None without one.
    """

    token_shape: Triple
    patch: Triple
    seconds: float
    boundaries: tuple[int, ...]
    model: ModelIdentity
    reach: StoredReach | None
    extra: ExtraFrames
    held_released_at: float | None
    beside: int
    euler: bool
    chained_from: Triple | None
    step_seconds: StepSeconds | None


def check_header(header: FileHeader, name: str) -> StoredValues:
    """The values of a file whose tensors all have the shapes and dtypes that belong together.

    name: the file's, for messages. Raises UnreadableFile for another kind of file or version, DamagedFile
    (the reason alone) for anything that a trajectory cannot have.
    """
    _check_kind(header, name)
    entries = header.json("values")
    if not isinstance(entries, dict):
        raise DamagedFile("its values are no JSON object")
    values = cast(dict[str, Any], entries)
    batch, size = _check_video(header)
    token_shape = _triple(values, "token_shape", _MOST_TOKENS)
    patch = _triple(values, "patch", _MOST_CELLS)
    if token_shape != TokenGrid(size, patch).tiles:
        raise DamagedFile(f"{token_shape} tokens are not those of a latent of {size}")
    model = _model(values)
    return StoredValues(
        token_shape=token_shape,
        patch=patch,
        seconds=_seconds(values),
        boundaries=_boundaries(values, header.tensors["denoised"].shape[0]),
        model=model,
        reach=_check_reach(header, values, model),
        extra=_extra_frames(values, size[0]),
        held_released_at=_released_at(values),
        beside=_check_beside(header, batch),
        euler=_euler(values),
        chained_from=_chained_from(values),
        step_seconds=_step_seconds(values),
    )


def _check_kind(header: FileHeader, name: str) -> None:
    if header.metadata.get("format") != FORMAT:
        raise UnreadableFile(f"{name} is not an S²Flow trajectory but another safetensors file.")
    version = header.metadata.get("version", "")
    if version not in _READABLE:
        raise UnreadableFile(
            f"{name} has trajectory format version {version[:20]}; this pack reads version {VERSION} and "
            "earlier. Update the pack, or run the Low-Res Sampler again."
        )


def _check_video(header: FileHeader) -> tuple[int, Triple]:
    """B and (T, H, W) of the video; every tensor of it has its shape, and no unknown one is there."""
    streams = [name for name in header.tensors if name.startswith(BESIDE)]
    header.require_names(TENSORS, (*HELD_TENSORS, *RECORD.values(), *streams))
    steps, *latent = header.require_form("denoised", _FLOATS, (None,) * 6)
    if steps > _MOST_STEPS:
        raise DamagedFile(f"it claims {steps} steps, more than the {_MOST_STEPS} allowed")
    header.require_form("noise", _FLOATS, (steps, *latent))
    header.require_form("sigmas", (torch.float32,), (steps + 1,))
    header.require_form("final", _FLOATS, tuple(latent))
    batch, channels, *size = latent
    if any(name in header.tensors for name in HELD_TENSORS):
        header.require_form(HELD_TENSORS[0], _FLOATS, tuple(latent))
        masks = header.require_form(HELD_TENSORS[1], _FLOATS, (batch, None, *size))
        if masks[1] not in (1, channels):
            raise DamagedFile(f"its mask has {masks[1]} channels")
    frames, height, width = size
    return batch, (frames, height, width)


def _check_reach(header: FileHeader, values: dict[str, Any], model: ModelIdentity) -> StoredReach | None:
    """Where the attention record was made; its tensors have the run's steps and the model's heads."""
    stored = values.get("reach")
    if stored is None:
        header.require_names((), set(header.tensors) - set(RECORD.values()))
        return None
    if not isinstance(stored, dict):
        raise DamagedFile("its reach is no JSON object")
    fields = cast(dict[str, Any], stored)
    grid = TokenGrid(_triple(fields, "shape", _MOST_TOKENS), _triple(fields, "tile", _MOST_CELLS))
    knots = _knots(fields, grid.tiles)
    heads = (header.tensors["denoised"].shape[0], model.layers, model.heads)
    for field, name in RECORD.items():
        if name == MASS or name in header.tensors:
            windows = () if field in RECORDED_PER_HEAD else tuple(map(len, knots))
            header.require_form(name, _FLOATS, (*heads, *windows))
    return StoredReach(grid, knots)


def _knots(fields: dict[str, Any], tiles: Triple) -> Knots:
    """The recorded extents of each axis; in files of the first version, all."""
    stored = fields.get("knots")
    if stored is None:
        return every_extent(tiles)
    if not isinstance(stored, list) or len(cast(list[Any], stored)) != 3:
        raise DamagedFile("its recorded extents are not those of three axes")
    t, h, w = (_rising(axis, count) for axis, count in zip(cast(list[Any], stored), tiles, strict=True))
    return t, h, w


def _rising(stored: Any, count: int) -> tuple[int, ...]:
    """Extents from 1 on to the whole axis of `count` tiles."""
    extents = cast(list[Any], stored) if isinstance(stored, list) else [None]
    rising = tuple(_whole(extent, 1, count, "a recorded extent") for extent in extents)
    if list(rising) != sorted(set(rising)) or not rising or rising[-1] != count:
        raise DamagedFile(f"its recorded extents do not rise to the {count} tiles of their axis")
    return rising


def _check_beside(header: FileHeader, batch: int) -> int:
    """How many streams stand beside the video, numbered from 0."""
    names = [name for name in header.tensors if name.startswith(BESIDE)]
    if len(names) > _MOST_BESIDE or set(names) != {f"{BESIDE}{number}" for number in range(len(names))}:
        raise DamagedFile("its streams beside the video are not numbered from 0")
    for name in names:
        axes = len(header.tensors[name].shape)
        header.require_form(name, _FLOATS, (batch, *(None,) * (axes - 1)))
    return len(names)


def _extra_frames(values: dict[str, Any], frames: int) -> ExtraFrames:
    """The clips of the latent that are no video; files of earlier versions say nothing of them."""
    stored = values.get("extra", {})
    if not isinstance(stored, dict) or not set(cast(dict[str, Any], stored)) <= {"before", "behind"}:
        raise DamagedFile("its extra frames are described wrongly")
    clips = {name: _clips(lengths, name) for name, lengths in cast(dict[str, Any], stored).items()}
    extra = ExtraFrames(**clips)
    if sum((*extra.before, *extra.behind)) >= frames:
        raise DamagedFile(f"its extra frames leave none of {frames} to the video")
    return extra


def _released_at(values: dict[str, Any]) -> float | None:
    """Of a mask that is let go of step by step; files of earlier versions have none."""
    sigma = values.get("held_released_at")
    if sigma is None:
        return None
    if type(sigma) not in (int, float) or not 0 <= cast(float, sigma) < 1:
        raise DamagedFile("the sigma at which its mask is let go of is none")
    return float(cast(float, sigma))


def _euler(values: dict[str, Any]) -> bool:
    """Files of earlier versions are of Euler runs."""
    euler = values.get("euler", True)
    if type(euler) is not bool:
        raise DamagedFile("it does not say whether its steps are Euler's")
    return euler


def _chained_from(values: dict[str, Any]) -> Triple | None:
    """Of a large run; files of earlier versions are of small ones."""
    return None if values.get("chained_from") is None else _triple(values, "chained_from", _MOST_TOKENS)


def _clips(stored: Any, name: str) -> tuple[int, ...]:
    if not isinstance(stored, list):
        raise DamagedFile(f"the clips {name} the video are no list")
    lengths = cast(list[Any], stored)
    return tuple(_whole(length, 1, _MOST_TOKENS, f"a clip {name} the video") for length in lengths)


def _model(values: dict[str, Any]) -> ModelIdentity:
    stored = values.get("model")
    names, counts = ("family", "latent_format"), ("layers", "heads", "channels")
    if not isinstance(stored, dict) or set(cast(dict[str, Any], stored)) != {*names, *counts}:
        raise DamagedFile("its model is described incompletely")
    fields = cast(dict[str, Any], stored)
    for name in names:
        if not isinstance(fields[name], str) or len(fields[name]) > _LONGEST_NAME:
            raise DamagedFile(f"its model's {name} is no name")
    for name in counts:
        _whole(fields[name], 0, _MOST_TOKENS, f"its model's {name}")
    return ModelIdentity(**fields)


def _triple(values: dict[str, Any], name: str, most: int) -> Triple:
    stored = values.get(name)
    if not isinstance(stored, list) or len(cast(list[Any], stored)) != 3:
        raise DamagedFile(f"its {name} is not three numbers")
    t, h, w = (_whole(side, 1, most, f"its {name}") for side in cast(list[Any], stored))
    return t, h, w


def _boundaries(values: dict[str, Any], steps: int) -> tuple[int, ...]:
    """Files of earlier versions have none."""
    stored = values.get("boundaries", [])
    if not isinstance(stored, list):
        raise DamagedFile("its boundaries are no list")
    boundaries = tuple(_whole(step, 1, steps - 1, "a boundary") for step in cast(list[Any], stored))
    if list(boundaries) != sorted(set(boundaries)):
        raise DamagedFile("its boundaries do not ascend")
    return boundaries


def _seconds(values: dict[str, Any]) -> float:
    seconds = values.get("seconds")
    if type(seconds) not in (int, float) or not 0 <= cast(float, seconds) < math.inf:
        raise DamagedFile("its seconds are no length of time")
    return float(cast(float, seconds))


def _step_seconds(values: dict[str, Any]) -> StepSeconds | None:
    """Files of earlier versions say nothing of single steps."""
    stored = values.get("step_seconds")
    if stored is None:
        return None
    wrong = DamagedFile("what it says of the seconds of a step cannot be")
    if not isinstance(stored, dict):
        raise wrong
    parts = cast(dict[str, Any], stored)
    names = {"whole", "attention", "capture"}
    if set(parts) != names or not all(type(part) in (int, float) for part in parts.values()):
        raise wrong
    try:
        return StepSeconds(**parts)
    except ValueError:
        raise wrong from None


def _whole(value: Any, least: int, most: int, what: str) -> int:
    if type(value) is not int or not least <= value <= most:
        raise DamagedFile(f"{what} is no whole number from {least} to {most}")
    return value
