"""Trains the small Wan 2.1 text-to-video DiT on latents of procedural clips, at the LR size only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn
from tqdm import tqdm

from demo.clips.scenes import FRAMES, TRAIN_SIZE, draw_scene, render, shape_distance
from demo.files import DIT_FILE, VAE_FILE, WORK
from demo.vocabulary import Prompt, all_prompts, embed_prompt, held_out_prompts
from training.checkpoints import save_atomically
from training.loop import Schedule, train
from training.optimizers import MuonWithAdamW

from ..vae_clip import HostModule
from ..wan import load_vae, new_dit, save_half

CLIPS = 1024
BATCH = 8
SCHEDULE = Schedule(steps=8900, learning_rate=1.5e-3, warmup=200, decay_share=0.12)
# Training times are shifted toward noise, where layout and motion are decided.
TIME_SHIFT = 3.0
DROP_PROMPT = 0.1
# Cells at an object's outline count this much more: they alone tell one shape from another, and they are few.
OUTLINE_WEIGHT = 8.0
OUTLINE_WIDTH = 0.05  # frame heights
LATENTS_FILE = WORK / "latents.pt"
ENCODE_BATCH = 20


def trained_prompts() -> list[Prompt]:
    held_out = set(held_out_prompts())
    return [prompt for prompt in all_prompts() if prompt not in held_out]


def prompt_of_clip(index: int) -> Prompt:
    """Prompts take turns, so that every combination is seen equally often."""
    prompts = trained_prompts()
    return prompts[index % len(prompts)]


def encode_clips(path: Path = LATENTS_FILE) -> Tensor:
    """Latents of all training clips in model space -> (CLIPS, 16, 5, 16, 16); resumes from its file."""
    encoded = torch.load(path, weights_only=True)["latents"] if path.is_file() else torch.empty(0)
    done = len(encoded)
    if done >= CLIPS:
        return encoded[:CLIPS]
    vae, to_model_space = load_vae(VAE_FILE)
    batches = [encoded] if done else []
    for first in tqdm(range(done, CLIPS, ENCODE_BATCH), desc="encoding clips", mininterval=5):
        for index in range(first, min(first + ENCODE_BATCH, CLIPS)):
            frames = render(draw_scene(index, prompt_of_clip(index)))
            with torch.no_grad():
                batches.append(to_model_space(vae(frames)))  # (1, 16, 5, 16, 16)
        save_atomically({"latents": torch.cat(batches)}, path)
    return torch.cat(batches)


def outline_weights(index: int) -> Tensor:
    """How much each latent cell of a training clip counts in the loss -> (5, 16, 16), mean about 2."""
    scene = draw_scene(index, prompt_of_clip(index))
    cells = TRAIN_SIZE // 8
    position = (torch.arange(cells) + 0.5) / cells
    center_x, center_y = scene.center(torch.arange(FRAMES) / (FRAMES - 1))
    local_x = position[None, None, :] - torch.as_tensor(center_x)[:, None, None]
    local_y = position[None, :, None] - torch.as_tensor(center_y)[:, None, None]
    distance = shape_distance(scene.prompt.shape, local_x, local_y, scene.radius)  # (frames, cells, cells)
    near = torch.exp(-((distance / OUTLINE_WIDTH) ** 2))
    # The first latent frame holds one frame, every other the mean of four.
    near = torch.cat([near[:1], rearrange(near[1:], "(t four) h w -> t four h w", four=4).mean(dim=1)])
    return 1 + OUTLINE_WEIGHT * near


def train_dit(steps: int | None = None) -> HostModule:
    """Flow matching in model space: the target is noise minus clean latent."""
    latents = encode_clips()
    prompts = torch.cat([embed_prompt(prompt_of_clip(index)) for index in range(len(trained_prompts()))])
    empty = embed_prompt(None)
    weights = torch.stack([outline_weights(index) for index in range(len(latents))])[
        :, None
    ]  # (N, 1, 5, 16, 16)
    torch.manual_seed(0)
    model = new_dit()
    parameters = list(model.parameters())
    matrices = {
        parameter
        for name, parameter in model.named_parameters()
        if name.startswith("blocks.") and parameter.ndim == 2
    }
    optimizer = MuonWithAdamW(parameters, matrices)

    def loss_of_step(step: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(step)
        index = torch.randint(len(latents), (BATCH,), generator=generator)
        clean = latents[index]  # (B, 16, 5, 16, 16)
        noise = torch.randn(clean.shape, generator=generator)
        uniform = torch.rand(BATCH, generator=generator)
        sigma = TIME_SHIFT * uniform / (1 + (TIME_SHIFT - 1) * uniform)
        dropped = torch.rand(BATCH, generator=generator) < DROP_PROMPT
        context = torch.where(dropped[:, None, None], empty, prompts[index % len(prompts)])
        mix = rearrange(sigma, "b -> b 1 1 1 1")
        with torch.autocast(clean.device.type, torch.bfloat16):
            velocity = model((1 - mix) * clean + mix * noise, sigma * 1000, context)
        squared = (velocity.float() - (noise - clean)).square()
        high = rearrange(sigma > 0.8, "b -> b 1 1 1 1").expand_as(squared)
        return {
            "loss": (squared * weights[index]).mean(),
            "plain": squared.detach().mean(),
            "noisy": squared.detach()[high].mean(),
        }

    schedule = SCHEDULE if steps is None else replace(SCHEDULE, steps=steps)
    average = train("DiT", model, optimizer, loss_of_step, schedule, WORK / "dit.pt")
    save_dit(average)
    return average


def save_dit(model: nn.Module) -> None:
    save_half(model.state_dict(), DIT_FILE, "S2Flow demo: small Wan 2.1 text-to-video")
