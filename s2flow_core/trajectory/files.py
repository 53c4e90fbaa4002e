"""A trajectory as a safetensors file."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..latent.held_latent import HeldLatent
from ..reach.record import AttentionReach
from .trajectory import ModelIdentity, Trajectory

FORMAT = "s2flow.trajectory"
VERSION = 1
_REACH_PREFIX = "reach."
_HELD_PREFIX = "held."


def save_trajectory(trajectory: Trajectory, path: str | Path) -> None:
    """Write a safetensors file; the old file stays whole until the new one is complete."""
    path = Path(path)
    tensors = {
        "sigmas": trajectory.sigmas,
        "denoised": trajectory.denoised,
        "noise": trajectory.noise,
        "final": trajectory.final,
    }
    if trajectory.held is not None:
        tensors |= {
            _HELD_PREFIX + "latent": trajectory.held.latent,
            _HELD_PREFIX + "mask": trajectory.held.mask,
        }
    reach_values: dict[str, Any] | None = None
    if trajectory.reach is not None:
        fields = {f.name: getattr(trajectory.reach, f.name) for f in dataclasses.fields(trajectory.reach)}
        tensors |= {
            _REACH_PREFIX + name: value for name, value in fields.items() if isinstance(value, Tensor)
        }
        reach_values = {name: value for name, value in fields.items() if not isinstance(value, Tensor)}
    values = {
        "token_shape": trajectory.token_shape,
        "patch": trajectory.patch,
        "model": dataclasses.asdict(trajectory.model),
        "seconds": trajectory.seconds,
        "boundaries": trajectory.boundaries,
        "reach": reach_values,
    }
    metadata = {"format": FORMAT, "version": str(VERSION), "values": json.dumps(values)}
    # In the same folder, because only a rename within one file system is atomic.
    handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished, metadata)
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
        with safe_open(path, "pt") as file:
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
        reach = None
        if values["reach"] is not None:
            recorded = {
                n.removeprefix(_REACH_PREFIX): t for n, t in tensors.items() if n.startswith(_REACH_PREFIX)
            }
            reach = AttentionReach(**recorded, **{n: _tuples(v) for n, v in values["reach"].items()})
        held = None
        if _HELD_PREFIX + "mask" in tensors:
            held = HeldLatent(tensors[_HELD_PREFIX + "latent"], tensors[_HELD_PREFIX + "mask"])
        return Trajectory(
            sigmas=tensors["sigmas"],
            denoised=tensors["denoised"],
            noise=tensors["noise"],
            final=tensors["final"],
            reach=reach,
            token_shape=_tuples(values["token_shape"]),
            patch=_tuples(values["patch"]),
            model=ModelIdentity(**values["model"]),
            seconds=values["seconds"],
            boundaries=_tuples(values.get("boundaries", [])),
            held=held,
        )
    except (SafetensorError, json.JSONDecodeError, KeyError, TypeError) as problem:
        raise ValueError(
            f"{path.name} is damaged or was not written completely ({problem}). Save the trajectory again."
        ) from problem


def _tuples(value: Any) -> Any:
    """JSON knows lists only; the dataclasses hold tuples."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
