"""Noise reshift on the shipped small model: does a preview of few large steps keep the large run's layout?"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.common.kept_rows import Row, Rows
from benchmarks.common.small_model import SmallModel, random_noise
from benchmarks.common.timing import processor_seconds
from demo.clips.observe import Observation, observe
from demo.clips.scenes import TRAIN_SIZE
from demo.generate import decode, empty_latent, guider_for, schedule
from demo.measure import held_out_cases
from s2flow_core.attention.rotary import position_factor
from training.wan import DIT_SETTINGS

STEPS = 40
SPLITS = (5, 10, 20, 30, 40)  # the paper's table 4
SCALES = (0.5, 0.75)  # the paper's, and that of the bundled workflows
PARTS = ("position", "size", "motion")


@dataclass(frozen=True)
class Preview:
    """A way to a small video.

    k: steps at the model's own size; 0 is the small size from the start. scale: of the small size. rope:
    "position" if the small size's positions are spread as far as the large one's.
    """

    k: int = 10
    scale: float = 0.5
    rope: str = "none"
    sigma_mode: str = "snr_matched"
    noise_mode: str = "consistent"

    @property
    def size(self) -> int:
        return int(self.scale * TRAIN_SIZE)

    def __str__(self) -> str:
        parts = [f"{self.k}-{STEPS - self.k}", f"{self.size}²", f"rope {self.rope}"]
        if self.k:
            parts += [self.sigma_mode, *([] if self.noise_mode == "consistent" else ["fresh noise"])]
        return ", ".join(parts)


SPLIT_ROWS = [Preview(k) for k in SPLITS]
SIZE_ROWS = [Preview(k, scale, rope) for scale in SCALES for rope in ("none", "position") for k in (10, 0)]
VARIANT_ROWS = [Preview(), Preview(sigma_mode="literal"), Preview(noise_mode="fresh")]
ALL_ROWS = list(dict.fromkeys([*SPLIT_ROWS, *SIZE_ROWS, *VARIANT_ROWS]))
QUICK_ROWS = [Preview(), Preview(0), Preview(rope="position")]


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
        self.prompt, self.seed = held_out_cases(index + 1)[index]
        self.model = model
        self.patcher = model.models.model
        self.sigmas = schedule(self.patcher, STEPS)

    def guider(self, latent: Tensor, rope: str) -> Any:
        """For the model as it is, or with core's ScaleROPE, so that any size spans the same positions."""
        model = self.patcher
        if rope == "position":
            from comfy_extras.nodes_rope import ScaleROPE

            native = empty_latent(1, TRAIN_SIZE)
            factor = position_factor(
                *(x.shape[-1] // DIT_SETTINGS["patch_size"][-1] for x in (native, latent))
            )
            (model,) = ScaleROPE.execute(model, factor, 0.0, factor, 0.0, 1.0, 0.0).args
        return guider_for(model, [self.prompt])

    def sample(
        self, noise: Tensor, sigmas: Tensor, latent: Tensor, rope: str = "none", callback: Any = None
    ) -> Tensor:
        """Core's Euler; returns LATENT."""
        import comfy.samplers

        result = self.guider(latent, rope).sample(
            noise,
            latent,
            comfy.samplers.sampler_object("euler"),
            sigmas,
            callback=callback,
            disable_pbar=True,
            seed=self.seed,
        )
        return result.cpu()

    def full(self) -> FullRun:
        latent = empty_latent(1, TRAIN_SIZE)
        noise = random_noise(self.seed).generate_noise({"samples": latent})
        states: list[Tensor] = []
        estimates: list[Tensor] = []

        def keep(_: int, denoised: Tensor, x: Tensor, __: int) -> None:
            states.append(x.to("cpu", copy=True))  # where ComfyUI hands latents over
            estimates.append(denoised.to("cpu", copy=True))

        started = time.process_time()
        result = self.sample(noise, self.sigmas, latent, callback=keep)
        return FullRun(states, estimates, result, (time.process_time() - started) / STEPS, noise)

    def result(self, full: FullRun, preview: Preview) -> tuple[Tensor, float]:
        """A preview (LATENT), and its seconds."""
        if preview.k == STEPS:
            return full.result, STEPS * full.step_seconds
        return self.changed_after(full, preview) if preview.k else self.small_from_start(full, preview)

    def changed_after(self, full: FullRun, preview: Preview) -> tuple[Tensor, float]:
        """k large steps, then small ones."""
        k = preview.k
        to_latent = self.patcher.model.process_latent_out
        handed_over = full.states[k] / (1 - self.sigmas[k])
        node = self.model.module("nodes.noise_reshift").S2FlowNoiseReshift
        latent, rest, noise = node.execute(
            model=self.patcher,
            latent={"samples": to_latent(full.estimates[k - 1])},
            sigmas=self.sigmas,
            k=k,
            scale=preview.scale,
            noise_mode=preview.noise_mode,
            sigma_mode=preview.sigma_mode,
            seed=self.seed,
            noisy_latent={"samples": to_latent(handed_over)},
        ).args
        started = time.process_time()
        small = self.sample(noise.generate_noise(latent), rest, latent["samples"], preview.rope)
        return small, k * full.step_seconds + time.process_time() - started

    def small_from_start(self, full: FullRun, preview: Preview) -> tuple[Tensor, float]:
        """All steps at the small size, from the coarse part of the large run's noise: its best chance."""
        latent = empty_latent(1, preview.size)
        coarse = self.model.module("s2flow_core.latent.noise").coarse_noise(full.noise, latent.shape[-2:])
        started = time.process_time()
        small = self.sample(coarse, self.sigmas, latent, preview.rope)
        return small, time.process_time() - started

    def seen(self, latent: Tensor) -> Observation:
        return observe(decode(self.model.models, latent)[0])


def layout_error(seen: Observation, reference: Observation) -> Row:
    """Distances in frame heights between two clips' objects.

    position: of the centres; size: of the roots of the areas; motion: of the centres once each track is moved
    to its own middle. Means over the frames in which both show an object; a clip that shows none in all of
    them is 1 off in everything.
    """
    shared = sorted(set(seen.frames) & set(reference.frames))
    if not shared:
        missed = float(bool(seen.frames) != bool(reference.frames))
        return dict.fromkeys((*PARTS, "layout"), missed)
    (a, a_size), (b, b_size) = (_track(clip, shared) for clip in (seen, reference))
    row = {
        "position": float((a - b).norm(dim=1).mean()),
        "size": float((a_size - b_size).abs().mean()),
        "motion": float(((a - a.mean(dim=0)) - (b - b.mean(dim=0))).norm(dim=1).mean()),
    }
    return row | {"layout": sum(row.values()) / len(row)}


def _track(clip: Observation, frames: list[int]) -> tuple[Tensor, Tensor]:
    """(frames, 2) centres and (frames,) roots of the areas."""
    places = [clip.frames.index(frame) for frame in frames]
    centres = torch.tensor([clip.track[place] for place in places], dtype=torch.float64)
    areas = torch.tensor([clip.areas[place] for place in places], dtype=torch.float64)
    return centres, areas.sqrt()


def attention_gflops(size: int, steps: int) -> float:
    """Billions of operations in the video's self-attention, both prompts of guidance counted."""
    _, _, frames, height, width = empty_latent(1, size).shape
    _, patch_h, patch_w = DIT_SETTINGS["patch_size"]
    tokens = frames * math.ceil(height / patch_h) * math.ceil(width / patch_w)
    return 2 * steps * DIT_SETTINGS["num_layers"] * 4 * tokens**2 * DIT_SETTINGS["dim"] / 1e9


def preview_rows(model: SmallModel, index: int, quick: bool) -> Rows:
    """One seed: every preview against the whole run at the model's own size."""
    runs = PreviewRuns(model, index)
    full = runs.full()
    reference = runs.seen(full.result)
    rows: Rows = {}
    for preview in QUICK_ROWS if quick else ALL_ROWS:
        latent, seconds = runs.result(full, preview)
        seen = runs.seen(latent)
        words = seen.fidelity(runs.prompt)
        large, small = (
            attention_gflops(TRAIN_SIZE, preview.k),
            attention_gflops(preview.size, STEPS - preview.k),
        )
        rows[str(preview)] = layout_error(seen, reference) | {
            "words": sum(words.values()) / len(words),
            **processor_seconds("seconds", seconds),
            "attention GFLOP": large + small,
        }
    return rows
