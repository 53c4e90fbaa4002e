"""Files of a training that was stopped: whole, and never of another training."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def save_atomically(state: Any, path: Path) -> None:
    """Writes beside the target and renames, so that a killed run or a full disk keeps the last good file.

    Raises OSError or RuntimeError, whichever torch has for it, if the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    try:
        torch.save(state, partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def require_same_training(checkpoint: Path, settings: Mapping[str, str], steps: int) -> None:
    """Refuses to go on from a checkpoint of another training: the result would be neither of the two.

    settings: what the training's result depends on, by name. Raises SystemExit where the file was written
    with others, or has gone further than `steps`; a file that is not there is fine.
    """
    if not checkpoint.is_file():
        return
    # Mapped, because the settings are all that is read of a large model.
    state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    then = state.get("settings", {})
    differing = [
        f"{name}: {then.get(name, 'unknown')} then, {settings.get(name, 'none')} now"
        for name in {**then, **settings}
        if then.get(name) != settings.get(name)
    ]
    if state["step"] > steps:
        differing.append(f"steps: {state['step']} done, {steps} asked for")
    if differing:
        raise SystemExit(
            f"{checkpoint} belongs to a training with other settings ({'; '.join(differing)}). Use the "
            f"former settings to go on with it; to start anew, give another --out or delete the file."
        )


def read_average(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The averaged weights of a training that may still run. Raises SystemExit where it has not saved any."""
    if not checkpoint.is_file():
        raise SystemExit(
            f"{checkpoint} is missing: the training writes its first checkpoint after some minutes"
        )
    return torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["average"]
