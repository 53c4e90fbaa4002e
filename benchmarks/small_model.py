"""The pack's own nodes on the shipped small model: one LR run, and HR runs that differ in one thing."""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from demo.clips import TRAIN_SIZE
from demo.generate import DemoModels, empty_latent, guider_for, load_models, schedule
from demo.host import load_pack
from demo.measure import held_out_cases
from demo.settings import SCALE

COARSE_CELLS = 2


@dataclass(frozen=True)
class Errors:
    """Relative L2 distances of an HR latent to its reference, whole and in two bands."""

    whole: float
    low: float
    high: float


def relative_errors(latent: Tensor, reference: Tensor) -> Errors:
    """latent, reference: (B, C, T, H, W). low: means of 2x2 cells, what LR could show; high: the rest."""
    difference = latent - reference
    low, low_reference = (coarse(x) for x in (difference, reference))
    high, high_reference = (x - coarse(x) for x in (difference, reference))
    return Errors(
        whole=float(difference.norm() / reference.norm()),
        low=float(low.norm() / low_reference.norm()),
        high=float(high.norm() / high_reference.norm()),
    )


def coarse(latent: Tensor) -> Tensor:
    """Every cell replaced by the mean of its 2x2 block."""
    shape = latent.shape
    blocks = torch.nn.functional.avg_pool2d(latent.flatten(0, 2)[:, None], COARSE_CELLS)
    enlarged = blocks.repeat_interleave(COARSE_CELLS, -1).repeat_interleave(COARSE_CELLS, -2)
    return enlarged.reshape(shape)


class SeededNoise:
    """Core's RandomNoise."""

    def __init__(self, seed: int):
        self.seed = seed

    def generate_noise(self, latent: dict[str, Any]) -> Tensor:
        import comfy.sample

        return comfy.sample.prepare_noise(latent["samples"], self.seed)


class SmallModel:
    """Loads the shipped files once and runs the pack's nodes on them."""

    def __init__(self) -> None:
        self.pack = load_pack()

    @cached_property
    def models(self) -> DemoModels:
        return load_models()

    def module(self, name: str) -> Any:
        """A module of the loaded pack, e.g. "nodes.upsample"."""
        return importlib.import_module(f"{self.pack.__name__}.{name}")

    def low_res(self, index: int, steps: int, **inputs: Any) -> LowResRun:
        """The LR run of one held-out prompt and seed."""
        prompt, seed = held_out_cases(index + 1)[index]
        guider = guider_for(self.models.model, [prompt])
        node = self.module("nodes.low_res_sampler").S2FlowLowResSampler
        _, trajectory = node.execute(
            SeededNoise(seed),
            guider,
            schedule(self.models.model, steps),
            {"samples": empty_latent(1, TRAIN_SIZE)},
            **inputs,
        ).args
        return LowResRun(self, guider, trajectory, seed)


@dataclass(frozen=True)
class HighResResult:
    latent: Tensor
    seconds: float


@dataclass(frozen=True)
class LowResRun:
    """A recorded LR run and the HR runs that start from it."""

    model: SmallModel
    guider: Any
    trajectory: Any
    seed: int

    def transition(self, steps_left: int, **inputs: Any) -> tuple[Any, Tensor, Any]:
        """The triple of S²Flow Upsample, enlarged in pixels."""
        node = self.model.module("nodes.upsample").S2FlowUpsample
        given = {"scale": SCALE, "method": "bicubic", "seed": self.seed, "vae": self.model.models.vae}
        latent, sigmas, noise = node.execute(self.trajectory, steps_left, **given | inputs).args
        return latent, sigmas, noise

    def windows(self, latent: Any, s: float, policy: str, tail: bool = False) -> Any:
        node = self.model.module("nodes.window_mask").S2FlowWindowMask
        return node.execute(self.trajectory, latent, s, policy, tail).args[0]

    def high_res(self, triple: tuple[Any, Tensor, Any], **inputs: Any) -> HighResResult:
        latent, sigmas, noise = triple
        node = self.model.module("nodes.high_res_sampler").S2FlowHighResSampler
        started = time.perf_counter()
        (result,) = node.execute(
            noise, self.guider, sigmas, latent, trajectory=self.trajectory, **inputs
        ).args
        return HighResResult(result["samples"], time.perf_counter() - started)
