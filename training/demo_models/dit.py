"""Trains the small Wan 2.1 text-to-video DiT on latents of procedural clips of many sizes and shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor, nn

from demo.clips.scenes import draw_scene, render
from demo.clips.styles import RICH
from demo.files import DIT_FILE, VAE_FILE, WORK
from demo.vocabulary import embed_prompt, held_out_prompts
from training.checkpoints import read_average
from training.fingerprint import file_fingerprint, fingerprint
from training.loop import Schedule, train
from training.optimizers import MuonWithAdamW
from training.piecewise import Workers
from training.precision import fast_precision

from ..vae_clip import HostModule
from ..wan import load_vae, new_dit, save_half
from .latents import BUCKETS, Bucket, encode_bucket, outline_weights, scene_of_clip

LAYERS = 8
SCHEDULE = Schedule(steps=3000, learning_rate=1.5e-3, warmup=200, decay_share=0.2, checkpoint_seconds=300)
# Every step mixes buckets: this many draws of one, each filled up with clips to about this many tokens.
MICRO_BATCHES = 4
TOKENS = 1000
# Training times are shifted toward noise, where layout and motion are decided.
TIME_SHIFT = 3.0
DROP_PROMPT = 0.1
CHECKPOINT = WORK / "dit.pt"
# Frames of held-out clips whose loss is watched; the model never trains on the last size.
VALIDATION_SIZES = (128, 192, 256)
VALIDATION_CLIPS = 2
VALIDATION_SIGMAS = (0.9, 0.6)
HELD_OUT = 2**40


@dataclass(frozen=True)
class Clips:
    """Latents (N, 16, 5, h, w), prompts (N, 4, TEXT_WIDTH) and weights of the loss (N, 1, 5, h, w)."""

    latents: Tensor
    prompts: Tensor
    weights: Tensor


def clips_of(bucket: Bucket, vae_file: Path) -> Clips:
    scenes = [scene_of_clip(bucket, number) for number in range(bucket.clips)]
    return Clips(
        encode_bucket(bucket, vae_file),
        torch.cat([embed_prompt(scene.prompt) for scene in scenes]),
        torch.stack([outline_weights(scene, bucket.height, bucket.width) for scene in scenes]),
    )


def held_out_clips(size: int, vae_file: Path) -> Clips:
    """A few clips of prompts that are never trained on."""
    prompts = held_out_prompts()[:VALIDATION_CLIPS]
    scenes = [draw_scene(HELD_OUT + number, prompt, RICH) for number, prompt in enumerate(prompts)]
    vae, to_model_space = load_vae(vae_file)
    with torch.no_grad():
        latents = torch.cat([to_model_space(vae(render(scene, size))) for scene in scenes])
    return Clips(
        latents,
        torch.cat([embed_prompt(prompt) for prompt in prompts]),
        torch.stack([outline_weights(scene, size, size) for scene in scenes]),
    )


def start_weights(model: HostModule, path: Path) -> None:
    """Takes over another DiT's weights; layers that it lacks begin without effect."""
    weights = {name: value.float() for name, value in load_file(path).items()}
    absent = model.load_state_dict(weights, strict=False)
    if absent.unexpected_keys:
        raise SystemExit(f"{path.name} has other layers than this model: {absent.unexpected_keys[0]}")
    new_layers = {int(name.split(".")[1]) for name in absent.missing_keys if name.startswith("blocks.")}
    for layer in new_layers:
        block = model.blocks[layer]
        for last in (block.self_attn.o, block.cross_attn.o, block.ffn[2]):
            nn.init.zeros_(last.weight)


@dataclass(frozen=True)
class Draw:
    """sigma: (B,). noise: as the clips' latents."""

    clips: Clips
    sigma: Tensor
    noise: Tensor


def weighted_loss(model: HostModule, draw: Draw) -> tuple[Tensor, Tensor]:
    """Flow matching in model space, noise minus clean latent -> the loss and its plain squares (B, ...)."""
    clips, mix = draw.clips, rearrange(draw.sigma, "b -> b 1 1 1 1")
    state = (1 - mix) * clips.latents + mix * draw.noise
    with fast_precision():
        velocity = model(state, draw.sigma * 1000, clips.prompts)
    squared = (velocity.float() - (draw.noise - clips.latents)).square()
    return (squared * clips.weights).mean(), squared.detach()


def draw_batch(clips: Clips, tokens: int, generator: torch.Generator) -> Draw:
    """Clips, their times and noise; some clips lose their prompt, for guidance."""
    count = max(round(TOKENS / tokens), 1)
    index = torch.randint(len(clips.latents), (count,), generator=generator)
    latents = clips.latents[index]
    noise = torch.randn(latents.shape, generator=generator)
    uniform = torch.rand(count, generator=generator)
    sigma = TIME_SHIFT * uniform / (1 + (TIME_SHIFT - 1) * uniform)
    dropped = torch.rand(count, generator=generator) < DROP_PROMPT
    prompts = torch.where(dropped[:, None, None], embed_prompt(None), clips.prompts[index])
    return Draw(Clips(latents, prompts, clips.weights[index]), sigma, noise)


def train_dit(
    steps: int | None = None, start: Path | None = None, vae_file: Path = VAE_FILE, threads: int = 1
) -> HostModule:
    """Trains from where it stopped and writes a file into WORK; steps shortens the training (for trials).

    start: a DiT file to begin with. vae_file: the VAE whose latents the model learns. threads: how many draws
    of a step are computed at a time.
    """
    clips = [clips_of(bucket, vae_file) for bucket in BUCKETS]
    shares = torch.tensor([float(bucket.share) for bucket in BUCKETS])
    held_out = {size: held_out_clips(size, vae_file) for size in VALIDATION_SIZES}
    torch.manual_seed(0)
    model = new_dit(num_layers=LAYERS)
    if start:
        start_weights(model, start)
    named = list(model.named_parameters())
    matrices = {value for name, value in named if name.startswith("blocks.") and value.ndim == 2}
    parameters, workers = [value for _, value in named], Workers(threads)
    optimizer = MuonWithAdamW(parameters, matrices, workers)

    def loss_of_step(step: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(step)
        draws = [
            draw_batch(clips[choice], BUCKETS[choice].tokens, generator)
            for choice in torch.multinomial(shares, MICRO_BATCHES, True, generator=generator).tolist()
        ]
        pieces = [lambda draw=draw: weighted_loss(model, draw)[0] for draw in draws]
        return {"loss": workers.mean_loss(pieces, parameters)}

    schedule = SCHEDULE if steps is None else replace(SCHEDULE, steps=steps)
    recipe = fingerprint(BUCKETS, RICH, MICRO_BATCHES, TOKENS, TIME_SHIFT, DROP_PROMPT)
    settings = {
        "--start": file_fingerprint(start) if start else "none",
        "--vae": file_fingerprint(vae_file),
        "constants of the recipe": recipe,
    }
    average = train(
        "DiT",
        model,
        optimizer,
        loss_of_step,
        schedule,
        CHECKPOINT,
        lambda averaged: validation(averaged, held_out),
        settings,
    )
    export_dit(average, WORK / DIT_FILE.name)
    return average


@torch.no_grad()
def validation(model: HostModule, held_out: dict[int, Clips]) -> str:
    """Loss on held-out clips by frame size, at fixed times and noise."""
    report = []
    for size, clips in held_out.items():
        noise = torch.randn(clips.latents.shape, generator=torch.Generator().manual_seed(size))
        losses = [
            weighted_loss(model, Draw(clips, torch.full((len(noise),), sigma), noise))[1].mean()
            for sigma in VALIDATION_SIGMAS
        ]
        report.append(f"{size}: {' '.join(f'{loss.item():.4f}' for loss in losses)}")
    return f"held-out loss at sigma {VALIDATION_SIGMAS}: " + " | ".join(report)


def export_checkpoint(path: Path) -> None:
    """Writes the averaged weights of the last checkpoint as a file that ComfyUI loads."""
    model = new_dit(num_layers=LAYERS)
    model.load_state_dict(read_average(CHECKPOINT))
    export_dit(model, path)


def export_dit(model: nn.Module, path: Path) -> None:
    save_half(model.state_dict(), path, "S2Flow demo: small Wan 2.1 text-to-video")
