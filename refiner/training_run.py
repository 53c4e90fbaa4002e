"""One training of a Refiner on cached pairs: stages of growing length, each resumable."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from demo import training
from demo.vae_clip import HostModule

from .flow_mapping import FlowMapping, flow_mapping_loss
from .pair_cache import PairCache


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


def run_stages(
    model: HostModule,
    trained: nn.Module,
    optimizer_of: Callable[[nn.Module], training.Optimizer],
    cache: PairCache,
    stages: list[Stage],
    schedule: training.Schedule,
    mapping: FlowMapping,
    batching: Batching,
    work: Path,
    device: str = "cpu",
    half: bool = True,
) -> nn.Module:
    """Trains `trained` (the model, or the LoRA layers inside it) and returns its averaged weights.

    half: run the model in bf16. A stopped run goes on in the stage and at the step of its last checkpoint.
    """
    groups = cache.groups()
    if not groups:
        raise SystemExit(f"There is no training pair in {cache.folder}; the messages above say why.")
    average = trained
    for number, stage in enumerate(stages):

        def loss_of_step(step: int, stage: Stage = stage, number: int = number) -> dict[str, Tensor]:
            generator = torch.Generator().manual_seed(number * 10**9 + step)
            high, low, context = draw_batch(cache, groups, stage, batching, step, generator)
            autocast = torch.autocast(device, torch.bfloat16) if half else nullcontext()
            with autocast:
                losses = flow_mapping_loss(
                    model, high.to(device), low.to(device), context.to(device), mapping, generator
                )
            return {"loss": losses.mean()}

        checkpoint = work / f"refiner_stage{number + 1}.pt"
        average = training.train(
            f"Refiner, stage {number + 1} of {len(stages)}",
            trained,
            optimizer_of(trained),
            loss_of_step,
            replace(schedule, steps=stage.steps),
            checkpoint,
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
