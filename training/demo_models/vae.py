"""Trains the small Wan VAE on crops of procedural clips: single frames first, then clips."""

from __future__ import annotations

from dataclasses import replace

import torch
from einops import rearrange
from torch import Tensor, nn

from demo.clips.scenes import FRAMES, TRAIN_SIZE, draw_scene, render
from demo.files import VAE_FILE, WORK
from training.loop import Schedule, train
from training.optimizers import MuonWithAdamW

from ..vae_clip import build_vae, decode_clip, encode_clip
from ..wan import fold_latent_scale, save_half

DIM = 16
CROP = 64
LATENT_NOISE = 0.1
LATENT_PENALTY = 1e-4
# Share of the batch rendered at the HR size; both sizes must survive the VAE.
HIGH_RES_SHARE = 0.4
# Clips whose latents set the scale that the shipped file's latents get.
SCALE_CLIPS = 48
STAGES = {
    "frames": Schedule(steps=1100, learning_rate=3e-3, decay_share=0.1),
    "clips": Schedule(steps=1800, learning_rate=2e-3, decay_share=0.4),
}
STAGE_BATCH = {"frames": (12, 1), "clips": (2, 9)}  # clips in a batch, frames in a clip


def crops(step: int, count: int, frames: int) -> Tensor:
    """Random crops drawn from the step number -> (count, 3, frames, CROP, CROP) in -1..1."""
    generator = torch.Generator().manual_seed(step)
    batch = []
    for index in range(count):
        draws = torch.rand(4, generator=generator)
        size = TRAIN_SIZE * (2 if draws[0] < HIGH_RES_SHARE else 1)
        left, top = (int(draw * (size - CROP + 1)) for draw in draws[1:3])
        first = int(draws[3] * (FRAMES - frames + 1))
        batch.append(render(draw_scene(step * count + index), size, frames, (left, top, CROP), first))
    clip = rearrange(torch.stack(batch), "b t h w c -> b c t h w") * 2 - 1
    return clip.contiguous(memory_format=torch.channels_last_3d)


def psnr(reconstruction: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of values in -1..1."""
    error = (reconstruction.clamp(-1, 1) - truth).square().mean()
    return float(10 * torch.log10(4 / error))


@torch.no_grad()
def validation(vae: nn.Module) -> str:
    """PSNR of whole held-out clips at the training size."""
    values = []
    for seed in range(-3, 0):
        clip = rearrange(render(draw_scene(seed + 2**40)), "t h w c -> 1 c t h w") * 2 - 1
        values.append(psnr(decode_clip(vae, encode_clip(vae, clip)), clip))
    return " ".join(f"{value:.2f} dB" for value in values)


def train_stage(vae: nn.Module, stage: str, steps: int | None) -> nn.Module:
    schedule = STAGES[stage] if steps is None else replace(STAGES[stage], steps=steps)
    count, frames = STAGE_BATCH[stage]
    parameters = [p for p in vae.parameters() if p.requires_grad]
    kernels = {p for p in parameters if p.ndim >= 4 and p.shape[0] > 3}
    optimizer = MuonWithAdamW(parameters, kernels)
    generator = torch.Generator()

    def loss_of_step(step: int) -> dict[str, Tensor]:
        clip = crops(step, count, frames)
        with torch.autocast(clip.device.type, torch.bfloat16):
            latent = encode_clip(vae, clip).float()
            noise = torch.randn(latent.shape, generator=generator.manual_seed(step))
            decoded = decode_clip(vae, latent + LATENT_NOISE * noise).float()
        error = decoded - clip
        squared = error.square().mean()
        loss = squared + 0.05 * error.abs().mean() + LATENT_PENALTY * latent.square().mean()
        return {"loss": loss, "dB": 10 * torch.log10(4 / squared.detach()), "latent": latent.detach().std()}

    checkpoint = WORK / f"vae_{stage}.pt"
    return train(f"VAE {stage}", vae, optimizer, loss_of_step, schedule, checkpoint, validation)


def train_vae(steps: int | None = None) -> nn.Module:
    """Runs every stage from where it stopped; steps shortens each stage (for trials)."""
    torch.manual_seed(0)
    vae = build_vae(DIM)
    for stage in STAGES:
        vae = train_stage(vae, stage, steps)
    fold_latent_scale(vae, *latent_statistics(vae))
    save_vae(vae)
    return vae


@torch.no_grad()
def latent_statistics(vae: nn.Module) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (16,) of the latents of whole training clips."""
    latents = []
    for index in range(SCALE_CLIPS):
        clip = rearrange(render(draw_scene(index)), "t h w c -> 1 c t h w") * 2 - 1
        latents.append(encode_clip(vae, clip))
    together = rearrange(torch.cat(latents), "b c t h w -> c (b t h w)")
    return together.mean(dim=1), together.std(dim=1)


def save_vae(vae: nn.Module) -> None:
    save_half(vae.state_dict(), VAE_FILE, "S2Flow demo: small Wan VAE")
