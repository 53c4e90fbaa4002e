"""What a stopped run needs to go on from the step it had reached, and the file that keeps it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from .checked_tensors import DamagedFile, FileHeader, read_checked
from .written_whole import write_whole

FORMAT = "s2flow run"
VERSION = 2
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class ForeignState(ValueError):
    """A state of another run or version: it is left alone."""


@dataclass(frozen=True)
class RunState:
    """position: the step that the state stands before, 1 to steps. tensors, values (JSON): by name."""

    position: int
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]

    def tensor(
        self, name: str, shape: tuple[int | None, ...], dtypes: Collection[torch.dtype] = FLOATS
    ) -> Tensor:
        """A tensor of that form; raises DamagedFile if there is none. shape: None stands for any length."""
        found = self.tensors.get(name)
        if found is None:
            raise DamagedFile(f"the tensor {name!a} is missing")
        same = len(found.shape) == len(shape) and all(
            wanted in (None, length) for length, wanted in zip(found.shape, shape, strict=True)
        )
        if not same or found.dtype not in dtypes:
            raise DamagedFile(f"the tensor {name!a} is {tuple(found.shape)} {found.dtype}, not {shape}")
        return found

    def sigmas(self, name: str, among: Tensor) -> list[float]:
        """A list of sigma, each of which must stand in the schedule `among`; raises DamagedFile otherwise."""
        found = self.values.get(name)
        schedule = {float(sigma) for sigma in among}
        if isinstance(found, list):
            values = [value for value in cast(list[Any], found) if type(value) is float and value in schedule]
            if len(values) == len(cast(list[Any], found)):
                return values
        raise DamagedFile(f"the entry {name!a} holds no sigmas of this schedule")


def save_run_state(path: Path, state: RunState, run: str) -> None:
    """Writes the state of the run that `run` identifies, in place of an earlier one.

    Raises NotWritten as `write_whole` does.
    """
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "run": run,
        "position": json.dumps(state.position),
        "values": json.dumps(dict(state.values)),
    }
    write_whole(path, state.tensors, metadata, replace=True)


def load_run_state(path: Path, run: str, steps: int) -> RunState:
    """The kept state of this run of `steps` steps.

    Raises ForeignState for another run's or version's, UnreadableFile and DamagedFile as `read_checked`.
    """

    def check(header: FileHeader) -> tuple[int, dict[str, Any]]:
        if header.metadata.get("format") != FORMAT or header.metadata.get("version") != str(VERSION):
            raise ForeignState(f"{path.name} is not a kept run of this version of the pack.")
        if header.metadata.get("run") != run:
            raise ForeignState(f"{path.name} belongs to another run.")
        position, values = header.json("position"), header.json("values")
        if type(position) is not int or not 1 <= position <= steps:
            raise DamagedFile(f"it stands before step {position!r} of {steps}")
        if not isinstance(values, dict):
            raise DamagedFile("its values are no JSON object")
        return position, cast(dict[str, Any], values)

    (position, values), tensors = read_checked(path, check)
    return RunState(position, tensors, values)
