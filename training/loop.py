"""What both trainings share: optimizer, learning-rate schedule, averaged weights, checkpoints."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from training.checkpoints import require_same_training, save_atomically
from training.gradients import core_with_gradients
from training.optimizers import Optimizer

# Steps between two numbers on the progress bar.
SHOWN_EVERY = 10


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

    loss_of_step(step) returns the named parts of the loss, of which "loss" is minimised; where that one has
    no graph, its gradients are in the parameters already. It must draw
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
        with core_with_gradients():
            parts = loss_of_step(step)
            if parts["loss"].requires_grad:
                parts["loss"].backward()
            elif all(parameter.grad is None for parameter in model.parameters()):
                raise RuntimeError(f"{name}: the loss has no gradients, so nothing would be learned.")
        optimizer.step(schedule.rate(step))
        blend = 1 - min(schedule.average_decay, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, value in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(value, blend)
        if step % SHOWN_EVERY == 0:  # reading a number waits for the GPU
            progress.set_postfix({key: f"{value.item():.4f}" for key, value in parts.items()}, refresh=False)
        if time.monotonic() - saved > schedule.checkpoint_seconds:
            save(step + 1)
            saved = time.monotonic()
            if validate is not None:
                tqdm.write(f"{name} step {step + 1}: {validate(average)}")
    save(schedule.steps)
    return average
