"""Noise reshift on the shipped small model: does a preview of few large steps keep the large run's layout?"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.kept_rows import Row, Rows
from benchmarks.small_model import SmallModel, random_noise
from demo.clips import TRAIN_SIZE
from demo.generate import decode, empty_latent, guider_for, schedule
from demo.measure import held_out_cases
from demo.models import DIT_SETTINGS
from demo.observe import Observation, observe

STEPS = 40
SPLITS = (5, 10, 20, 30, 40)  # the paper's table 4
SMALL = TRAIN_SIZE // 2
FROM_SMALL = "small from the start"


@dataclass(frozen=True)
class FullRun:
    """The run at the model's own size: what a change after k steps starts from."""

    states: list[Tensor]  # model space, before each step
    estimates: list[Tensor]  # model space
    result: Tensor  # LATENT
    step_seconds: float
    noise: Tensor  # unit noise it started from


class PreviewRuns:
    """One prompt and seed at the model's own size, at half of it, and with a change after k steps."""

    def __init__(self, model: SmallModel, index: int):
        prompt, self.seed = held_out_cases(index + 1)[index]
        self.model = model
        self.patcher = model.models.model
        self.guider = guider_for(self.patcher, [prompt])
        self.sigmas = schedule(self.patcher, STEPS)

    def sample(self, noise: Tensor, sigmas: Tensor, latent: Tensor, callback: Any = None) -> Tensor:
        """Core's Euler; returns LATENT."""
        import comfy.samplers

        return self.guider.sample(
            noise,
            latent,
            comfy.samplers.sampler_object("euler"),
            sigmas,
            callback=callback,
            disable_pbar=True,
            seed=self.seed,
        )

    def full(self) -> FullRun:
        latent = empty_latent(1, TRAIN_SIZE)
        noise = random_noise(self.seed).generate_noise({"samples": latent})
        states: list[Tensor] = []
        estimates: list[Tensor] = []

        def keep(_: int, denoised: Tensor, x: Tensor, __: int) -> None:
            states.append(x.clone())
            estimates.append(denoised.clone())

        started = time.process_time()
        result = self.sample(noise, self.sigmas, latent, keep)
        return FullRun(states, estimates, result, (time.process_time() - started) / STEPS, noise)

    def changed_after(
        self, full: FullRun, k: int, sigma_mode: str, noise_mode: str, size: int = SMALL
    ) -> tuple[Tensor, float]:
        """The preview (LATENT) of k large and 40-k small steps, and its seconds."""
        to_latent = self.patcher.model.process_latent_out
        handed_over = full.states[k] / (1 - self.sigmas[k])
        node = self.model.module("nodes.noise_reshift").S2FlowNoiseReshift
        latent, rest, noise = node.execute(
            model=self.patcher,
            latent={"samples": to_latent(full.estimates[k - 1])},
            sigmas=self.sigmas,
            k=k,
            scale=size / TRAIN_SIZE,
            noise_mode=noise_mode,
            sigma_mode=sigma_mode,
            seed=self.seed,
            noisy_latent={"samples": to_latent(handed_over)},
        ).args
        started = time.process_time()
        preview = self.sample(noise.generate_noise(latent), rest, latent["samples"])
        return preview, k * full.step_seconds + time.process_time() - started

    def small_from_start(self, full: FullRun, size: int = SMALL) -> tuple[Tensor, float]:
        """All steps at a small size, from the coarse part of the large run's noise: its best chance."""
        latent = empty_latent(1, size)
        coarse = self.model.module("s2flow_core.noise").coarse_noise(full.noise, latent.shape[-2:])
        started = time.process_time()
        return self.sample(coarse, self.sigmas, latent), time.process_time() - started

    def seen(self, latent: Tensor) -> Observation:
        return observe(decode(self.model.models, latent)[0])


def layout_error(seen: Observation, reference: Observation) -> Row:
    """Distances in frame heights between two clips' objects: where, how large (root of the area), how moved.

    A clip without an object has its object as far away, as large and as much moved as can be: 1.
    """
    if not seen.track or not reference.track:
        missed = float(bool(seen.track) != bool(reference.track))
        return {"position": missed, "size": missed, "motion": missed, "layout": missed}
    frames = min(len(seen.track), len(reference.track))
    a, b = (torch.tensor(o.track[:frames], dtype=torch.float64) for o in (seen, reference))
    size = [torch.tensor(o.areas[:frames], dtype=torch.float64).sqrt() for o in (seen, reference)]
    row = {
        "position": float((a - b).norm(dim=1).mean()),
        "size": float((size[0] - size[1]).abs().mean()),
        "motion": float(((a[-1] - a[0]) - (b[-1] - b[0])).norm()),
    }
    return row | {"layout": sum(row.values()) / len(row)}


def attention_gflops(size: int, steps: int) -> float:
    """Billions of operations in the video's self-attention, both prompts of guidance counted."""
    _, _, frames, height, width = empty_latent(1, size).shape
    _, patch_h, patch_w = DIT_SETTINGS["patch_size"]
    tokens = frames * math.ceil(height / patch_h) * math.ceil(width / patch_w)
    return 2 * steps * DIT_SETTINGS["num_layers"] * 4 * tokens**2 * DIT_SETTINGS["dim"] / 1e9


def preview_rows(model: SmallModel, index: int, quick: bool) -> Rows:
    """One seed: every split, the variants of the reshift at k = 10, and the small run."""
    runs = PreviewRuns(model, index)
    full = runs.full()
    reference = runs.seen(full.result)
    rows: Rows = {}

    def add(name: str, preview: Tensor, seconds: float, k: int) -> None:
        flops = attention_gflops(TRAIN_SIZE, k) + attention_gflops(SMALL, STEPS - k)
        words = runs.seen(preview).fidelity(held_out_cases(index + 1)[index][0])
        rows[name] = layout_error(runs.seen(preview), reference) | {
            "words": sum(words.values()) / len(words),
            "seconds": seconds,
            "attention GFLOP": flops,
        }

    for k in (10,) if quick else SPLITS:
        if k == STEPS:
            add(f"{k}-0", full.result, STEPS * full.step_seconds, STEPS)
        else:
            add(f"{k}-{STEPS - k}", *runs.changed_after(full, k, "literal", "consistent"), k)
    if not quick:
        add("10-30 fresh noise", *runs.changed_after(full, 10, "literal", "fresh"), 10)
        add("10-30 snr_matched", *runs.changed_after(full, 10, "snr_matched", "consistent"), 10)
    add(FROM_SMALL, *runs.small_from_start(full), 0)
    return rows
