"""What the attention engine is measured on: random numbers, or what the shipped small model really asks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common.exact_attention import Inputs
from s2flow_core.windows.extents import axis_shares, candidate_extents, extent_densities
from s2flow_core.windows.grid import TokenGrid, Triple

QKV = tuple[Tensor, Tensor, Tensor]
_NEAR = 0.97
"""Candidates that miss the wanted density by more than 3 % are left out of random windows."""

_LR_STEPS = 10
HR_STEPS = (2, 5, 8)
"""Steps of the LR schedule at which the HR model is asked too."""


@dataclass(frozen=True)
class CapturedRun:
    """The small model's own attention: every step of an LR run, some steps of the HR run it leads to.

    low: [step][layer] -> (q, k, v) on `low_grid`; high: step -> [layer] -> (q, k, v) on `high_grid`. sigmas:
    (steps,). All (1, heads, tokens, dim) of the positive prompt.
    """

    source: str
    sigmas: Tensor
    low_grid: Triple
    low: list[list[QKV]]
    high_grid: Triple
    high: dict[int, list[QKV]]


def random_inputs(grid: TokenGrid, heads: int, dim: int, dtype: torch.dtype, device: str) -> Inputs:
    """Gaussian numbers in the memory order of models, tokens before heads."""
    generator = torch.Generator(device).manual_seed(0)
    shape = (1, grid.tokens, heads, dim)
    q, k, v = (
        torch.randn(shape, generator=generator, device=device, dtype=dtype).transpose(1, 2) for _ in range(3)
    )
    return Inputs(f"random, {grid.tokens} tokens", q, k, v, grid)


def spread_extents(grid: TokenGrid, density: float, heads: int) -> Tensor:
    """(heads, 3): windows of about this density, a different shape for every head where there are enough."""
    candidates = candidate_extents(grid.tiles, density, axis_shares(grid))
    t, h, w = (candidates - 1).unbind(-1)
    densities = extent_densities(grid)[t, h, w]
    near = candidates[densities >= _NEAR * densities.max()]
    return near[torch.linspace(0, len(near) - 1, heads).round().long()]


def captured_run(resize: int = 2, steps: tuple[int, ...] = HR_STEPS) -> CapturedRun:
    """Sample the small model at LR, then ask it at `resize` times that; SystemExit says what is missing."""
    from comfyui_runner.installation import import_comfy
    from demo.clips.scenes import TRAIN_SIZE
    from demo.generate import empty_latent, guider_for, load_models, schedule, seeded_noise
    from demo.vocabulary import held_out_prompts

    import_comfy()
    import comfy.samplers

    models = load_models()
    prompt = held_out_prompts()[0]
    sigmas = schedule(models.model, _LR_STEPS)
    euler = comfy.samplers.sampler_object("euler")

    def sample(latent: Tensor, sigmas: Tensor) -> tuple[Tensor, list[list[QKV]]]:
        model = models.model.clone()
        layers = len(model.model.diffusion_model.blocks)
        recorder = Recorder(math.prod(latent.shape[2:]) // 4, layers)
        model.model_options["transformer_options"]["optimized_attention_override"] = recorder
        noise = seeded_noise([0], latent)
        done = guider_for(model, [prompt]).sample(noise, latent, euler, sigmas, disable_pbar=True, seed=0)
        return done, recorder.steps

    empty = empty_latent(1, TRAIN_SIZE)
    small, low = sample(empty, sigmas)
    large = F.interpolate(small[0], scale_factor=resize, mode="bilinear")[None].to(empty)
    high = {step: sample(large, torch.tensor([float(sigmas[step]), 0.0]))[1][0] for step in steps}
    return CapturedRun("small model", sigmas[:-1].cpu(), token_grid(empty), low, token_grid(large), high)


def token_grid(latent: Tensor) -> Triple:
    """(T, H, W) in tokens of a latent (1, C, t, h, w); the model's patch is 1x2x2."""
    t, h, w = latent.shape[2:]
    return t, h // 2, w // 2


class Recorder:
    """An `optimized_attention_override` that keeps the positive prompt's self-attention, and only that."""

    def __init__(self, tokens: int, layers: int):
        self.tokens = tokens
        self.layers = layers
        self.calls: list[QKV] = []

    @property
    def steps(self) -> list[list[QKV]]:
        """[step][layer] -> (q, k, v)"""
        starts = range(0, len(self.calls), self.layers)
        return [self.calls[start : start + self.layers] for start in starts]

    def __call__(
        self, original: Callable, q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **kwargs: Any
    ):
        conditions = kwargs["transformer_options"]["cond_or_uncond"]
        if q.shape[1] == k.shape[1] == self.tokens and 0 in conditions:
            rows = slice(conditions.index(0), conditions.index(0) + 1)  # one video per condition
            q_video, k_video, v_video = (
                x[rows].detach().unflatten(2, (heads, -1)).transpose(1, 2).float().cpu() for x in (q, k, v)
            )
            self.calls.append((q_video, k_video, v_video))
        return original(q, k, v, heads, *args, **kwargs)
