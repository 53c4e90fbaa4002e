"""Samples the small models with ComfyUI's own loaders, guider and sampler, without a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .clips.scenes import FRAMES
from .files import DIT_FILE, VAE_FILE
from .settings import GUIDANCE, SHIFT, STEPS
from .vocabulary import Prompt, embed_prompt


@dataclass(frozen=True)
class DemoModels:
    """The loaded files: ComfyUI's ModelPatcher and VAE."""

    model: Any
    vae: Any


def load_models() -> DemoModels:
    """Loads the shipped files the way the core nodes do; `import_comfy` must have run."""
    import comfy.sd
    import comfy.utils

    for path in (DIT_FILE, VAE_FILE):
        if not path.is_file():
            raise SystemExit(
                f"{path.name} is missing from demo/models: train it with python -m training.demo_models"
            )
    model = comfy.sd.load_diffusion_model(str(DIT_FILE))
    vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(VAE_FILE)))
    return DemoModels(with_shift(model, SHIFT), vae)


def with_shift(model: Any, shift: float) -> Any:
    """What core's ModelSamplingSD3 node does."""
    import comfy.model_sampling

    class ShiftedFlow(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
        pass

    sampling = ShiftedFlow(model.model.model_config)
    sampling.set_parameters(shift=shift, multiplier=1000)
    patched = model.clone()
    patched.add_object_patch("model_sampling", sampling)
    return patched


def schedule(model: Any, steps: int = STEPS) -> Tensor:
    """Core's "simple" scheduler -> (steps + 1,)."""
    import comfy.samplers

    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", steps)


def guider_for(model: Any, prompts: list[Prompt], guidance: float = GUIDANCE) -> Any:
    """A core CFGGuider for a batch with one prompt per video."""
    import comfy.samplers

    guider = comfy.samplers.CFGGuider(model)
    positive = torch.cat([embed_prompt(prompt) for prompt in prompts])  # (B, 4, TEXT_WIDTH)
    negative = embed_prompt(None).expand_as(positive)
    guider.set_conds([[positive, {}]], [[negative, {}]])
    guider.set_cfg(guidance)
    return guider


def empty_latent(count: int, size: int) -> Tensor:
    """(count, 16, frames, size/8, size/8) zeros."""
    return torch.zeros(count, 16, (FRAMES - 1) // 4 + 1, size // 8, size // 8)


def seeded_noise(seeds: list[int], latent: Tensor) -> Tensor:
    """One seed per video, so that a batch gives what single runs would."""
    import comfy.sample

    return torch.cat([comfy.sample.prepare_noise(latent[:1], seed) for seed in seeds])


def sample_latents(
    models: DemoModels, prompts: list[Prompt], seeds: list[int], size: int, steps: int = STEPS
) -> Tensor:
    """Euler from noise to the finished latents in LATENT space -> (B, 16, t, h, w)."""
    import comfy.samplers

    latent = empty_latent(len(prompts), size)
    return guider_for(models.model, prompts).sample(
        seeded_noise(seeds, latent),
        latent,
        comfy.samplers.sampler_object("euler"),
        schedule(models.model, steps),
        disable_pbar=True,
        seed=seeds[0],
    )


def decode(models: DemoModels, latents: Tensor) -> list[Tensor]:
    """(B, 16, t, h, w) -> B clips (frames, H, W, 3) in 0..1."""
    return [models.vae.decode(latent[None])[0].clamp(0, 1) for latent in latents]
