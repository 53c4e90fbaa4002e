"""One training of a Refiner on cached pairs: stages of growing length, each resumable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from training.checkpoints import require_same_training
from training.loop import Schedule, train
from training.optimizers import Optimizer
from training.precision import fast_precision
from training.vae_clip import HostModule

from .data.pair_cache import PairCache
from .loss import FlowMapping, flow_mapping_loss


@dataclass(frozen=True)
class Stage:
    """Steps on clips of at most so many latent frames; short clips first is what the paper does."""

    latent_frames: int
    steps: int


@dataclass(frozen=True)
class Batching:
    """count: pairs in a step. crop: side in latent cells of the random crop that every step but the third
    takes from them; 0 trains on whole latents only."""

    count: int
    crop: int = 0


@dataclass(frozen=True)
class Lesson:
    """What is learned and how: stages in order, the learning rate of each (their steps count, not the
    schedule's), which map, from which batches."""

    stages: list[Stage]
    schedule: Schedule
    mapping: FlowMapping
    batching: Batching


@dataclass(frozen=True)
class TrainingPairs:
    """names: of this run's pairs in the cache. empty: (tokens, width), what a dropped prompt becomes."""

    cache: PairCache
    names: list[str]
    empty: Tensor


@dataclass(frozen=True)
class Run:
    """Where a training happens, and which one it is.

    work: folder of the checkpoints. settings: all that the result depends on, by name; checkpoints of other
    settings are refused. half: run the model in bf16 where that is faster.
    """

    work: Path
    settings: Mapping[str, str]
    device: str = "cpu"
    half: bool = True

    def checkpoint(self, number: int) -> Path:
        return self.work / f"refiner_stage{number + 1}.pt"

    def settings_of_stage(self, stages: list[Stage], number: int) -> dict[str, str]:
        """Of the stage's own steps nothing: a training of a constant rate may be made longer."""
        before = ", ".join(f"{stage.latent_frames}:{stage.steps}" for stage in stages[:number])
        frames = str(stages[number].latent_frames)
        return {**self.settings, "latent frames": frames, "stages before": before or "none"}

    def require_same(self, stages: list[Stage]) -> None:
        """Raises SystemExit where a checkpoint of another training lies in the folder."""
        for number, stage in enumerate(stages):
            settings = self.settings_of_stage(stages, number)
            require_same_training(self.checkpoint(number), settings, stage.steps)


def run_stages(
    model: HostModule,
    trained: nn.Module,
    optimizer_of: Callable[[nn.Module], Optimizer],
    pairs: TrainingPairs,
    lesson: Lesson,
    run: Run,
) -> nn.Module:
    """Trains `trained` (the model, or the LoRA layers inside it) and returns its averaged weights.

    A stopped run goes on in the stage and at the step of its last checkpoint. Raises SystemExit if there is
    no pair, or a checkpoint is another training's.
    """
    stages = lesson.stages
    run.require_same(stages)
    groups = pairs.cache.groups(pairs.names)
    if not groups:
        raise SystemExit("No video can be trained on; the messages above say why.")
    average = trained
    for number, stage in enumerate(stages):

        def loss_of_step(step: int, stage: Stage = stage, number: int = number) -> dict[str, Tensor]:
            generator = torch.Generator().manual_seed(number * 10**9 + step)
            drawn = draw_batch(pairs.cache, groups, stage, lesson.batching, step, generator)
            high, low, context, empty = (tensor.to(run.device) for tensor in (*drawn, pairs.empty))
            precision = fast_precision(torch.device(run.device).type) if run.half else nullcontext()
            with precision:
                losses = flow_mapping_loss(model, high, low, context, empty, lesson.mapping, generator)
            return {"loss": losses.mean()}

        average = train(
            f"Refiner, stage {number + 1} of {len(stages)}",
            trained,
            optimizer_of(trained),
            loss_of_step,
            replace(lesson.schedule, steps=stage.steps),
            run.checkpoint(number),
            settings=run.settings_of_stage(stages, number),
        )
        trained.load_state_dict(average.state_dict())
    return average


def draw_batch(
    cache: PairCache,
    groups: list[list[Path]],
    stage: Stage,
    batching: Batching,
    step: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """high, low (B, C, T, H, W) and context of one shape; groups are drawn by their number of pairs."""
    sizes = torch.tensor([float(len(group)) for group in groups])
    group = groups[int(torch.multinomial(sizes, 1, generator=generator))]
    cropped = batching.crop > 0 and step % 3 != 2
    cells = cache.load(group[0]).high.shape[-2:]
    count = batching.count
    if batching.crop and not cropped:
        # As many tokens as in a step of crops.
        count = max(1, round(count * batching.crop**2 / (cells[0] * cells[1])))
    picks = torch.randint(len(group), (count,), generator=generator)
    high, low, context = cache.batch([group[i] for i in picks], stage.latent_frames)
    if cropped:
        top, left = (
            2 * int(torch.randint((side - batching.crop) // 2 + 1, (), generator=generator)) for side in cells
        )
        window = (..., slice(top, top + batching.crop), slice(left, left + batching.crop))
        high, low = high[window], low[window]
    return high, low, context
