"""Trains the small Refiner that ships with the pack, from procedural clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from demo.clips.styles import STYLE
from demo.files import REFINER_FILE, VAE_FILE, WORK
from demo.vocabulary import embed_prompt
from training.demo_models.latents import PROMPT_STEP
from training.fingerprint import file_fingerprint, fingerprint
from training.loop import Schedule
from training.optimizers import MuonWithAdamW, Optimizer

from ..data.pair_cache import PairCache
from ..light_model import new_refiner, save_refiner
from ..loss import FlowMapping
from ..training_run import Batching, Lesson, Run, Stage, TrainingPairs, run_stages
from ..windowed_blocks import window_blocks
from .pairs import PAIR_RECIPE, encode_demo_pairs

# The small model has to tell clean and degraded starts apart, and to make a scene of the latter takes longer.
DEMO_MAPPING = FlowMapping(noise_share=0.4, relative=True)
BATCHING = Batching(count=8, crop=16)


def train_demo(steps: int, window: int = 0, out: Path | None = None, device: str = "cpu") -> None:
    """Matrices by Muon, which a small model learns from in minutes instead of days.

    window: latent frames that attention sees at a time, shifted in every other layer; 0 is all of them, as in
    the shipped file. out: another file than the shipped one; its checkpoints lie beside it.
    """
    schedule = Schedule(steps=steps, learning_rate=1.5e-3, warmup=100, decay_share=0.3)
    seen = fingerprint(STYLE, PROMPT_STEP, PAIR_RECIPE, file_fingerprint(VAE_FILE))
    settings = {
        "--steps": str(steps),
        "--window": str(window),
        "clips and VAE": seen,
        "constants of the recipe": fingerprint(DEMO_MAPPING, BATCHING, replace(schedule, steps=0)),
    }
    run = Run(out.with_suffix("") if out else WORK, settings, device)
    stages = [Stage(latent_frames=5, steps=steps)]
    run.require_same(stages)
    cache = PairCache(WORK / f"refiner_pairs_{seen}")
    pairs = TrainingPairs(cache, encode_demo_pairs(cache, device=device), embed_prompt(None)[0])
    torch.manual_seed(0)
    model = new_refiner().to(device)
    if window:
        window_blocks(model, window)

    def optimizer_of(module: nn.Module) -> Optimizer:
        named = list(module.named_parameters())
        matrices = {value for name, value in named if name.startswith("blocks.") and value.ndim == 2}
        return MuonWithAdamW([value for _, value in named], matrices)

    lesson = Lesson(stages, schedule, DEMO_MAPPING, BATCHING)
    average = run_stages(model, model, optimizer_of, pairs, lesson, run)
    save_refiner(average, out or REFINER_FILE)
