"""What both trainings share: optimizer, learning-rate schedule, averaged weights, checkpoints."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm


@dataclass(frozen=True)
class Schedule:
    """Steps of one training and its learning rate: warm-up, constant, then linear to zero."""

    steps: int
    learning_rate: float
    warmup: int = 100
    decay_share: float = 0.3
    average_decay: float = 0.999
    checkpoint_seconds: float = 120.0

    def rate(self, step: int) -> float:
        decay_start = self.steps * (1 - self.decay_share)
        falling = (self.steps - step) / max(self.steps - decay_start, 1)
        return self.learning_rate * min((step + 1) / self.warmup, 1.0, max(falling, 0.0))


class Optimizer(Protocol):
    """What the loop asks of an optimizer; a step also forgets the gradients."""

    def step(self, rate: float) -> None: ...

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> None: ...


class AdamW:
    """Plain AdamW over all parameters."""

    def __init__(self, parameters: list[nn.Parameter], weight_decay: float = 0.01):
        self.adamw = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.98), weight_decay=weight_decay)

    def step(self, rate: float) -> None:
        for group in self.adamw.param_groups:
            group["lr"] = rate
        self.adamw.step()
        self.adamw.zero_grad()

    def state_dict(self) -> dict:
        return self.adamw.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.adamw.load_state_dict(state)


class MuonWithAdamW:
    """Muon for the matrices and AdamW for the rest.

    Convolution kernels take part as (out, in * taps) views of the same storage.
    """

    def __init__(self, parameters: list[nn.Parameter], matrices: set[nn.Parameter]):
        self.kernels = [p for p in parameters if p in matrices]
        self.views = [nn.Parameter(p.data.reshape(p.shape[0], -1)) for p in self.kernels]
        for kernel, view in zip(self.kernels, self.views, strict=True):
            if kernel.data_ptr() != view.data_ptr():
                raise ValueError("a kernel must be contiguous to be trained through its matrix view")
        rest = [p for p in parameters if p not in matrices]
        self.muon = torch.optim.Muon(self.views, lr=1e-3, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
        self.adamw = torch.optim.AdamW(rest, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)

    def step(self, rate: float) -> None:
        for kernel, view in zip(self.kernels, self.views, strict=True):
            view.grad = None if kernel.grad is None else kernel.grad.reshape(view.shape)
            kernel.grad = None
        for optimizer in (self.muon, self.adamw):
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()

    def state_dict(self) -> dict:
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])


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


def train(
    name: str,
    model: nn.Module,
    optimizer: Optimizer,
    loss_of_step: Callable[[int], dict[str, Tensor]],
    schedule: Schedule,
    checkpoint: Path,
    validate: Callable[[nn.Module], str] | None = None,
    settings: Mapping[str, str] | None = None,
) -> nn.Module:
    """Runs the loop from the last checkpoint on and returns the model with averaged weights.

    loss_of_step(step) returns the named parts of the loss, of which "loss" is minimised. It must draw
    its data from the step number alone, so that a resumed run sees what an unbroken one would have.
    settings: as in `require_same_training`; they are stored with every checkpoint.
    """
    settings = dict(settings or {})
    average = copy.deepcopy(model).eval()
    first_step = 0
    require_same_training(checkpoint, settings, schedule.steps)
    if checkpoint.is_file():
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first_step = state["step"]

    def save(step: int) -> None:
        weights = {"model": model.state_dict(), "average": average.state_dict()}
        progress = {"optimizer": optimizer.state_dict(), "step": step, "settings": settings}
        try:
            save_atomically(weights | progress, checkpoint)
        except (OSError, RuntimeError) as problem:
            tqdm.write(f"{name} step {step}: no checkpoint written ({problem}); the last good one is kept")

    saved = time.monotonic()
    progress = tqdm(
        range(first_step, schedule.steps), initial=first_step, total=schedule.steps, desc=name, mininterval=5
    )
    for step in progress:
        parts = loss_of_step(step)
        parts["loss"].backward()
        optimizer.step(schedule.rate(step))
        blend = 1 - min(schedule.average_decay, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, value in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(value, blend)
        progress.set_postfix({key: f"{value.item():.4f}" for key, value in parts.items()}, refresh=False)
        if time.monotonic() - saved > schedule.checkpoint_seconds:
            save(step + 1)
            saved = time.monotonic()
            if validate is not None:
                tqdm.write(f"{name} step {step + 1}: {validate(average)}")
    save(schedule.steps)
    return average
