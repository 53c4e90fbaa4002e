"""Trains the small Wan 2.1 text-to-video DiT on latents of procedural clips of many sizes and shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor, nn

from demo.clips.scenes import Scene, draw_scene, render
from demo.clips.styles import STYLE
from demo.files import DIT_FILE, VAE_FILE, WORK
from demo.vocabulary import embed_prompt, held_out_prompts
from training.checkpoints import read_average
from training.fingerprint import file_fingerprint, fingerprint
from training.loop import Schedule, train
from training.optimizers import MuonWithAdamW
from training.piecewise import Workers
from training.precision import fast_precision

from ..machine import CPU, Machine
from ..recorded_loss import RecordedLosses
from ..vae_clip import HostModule
from ..wan import load_vae, new_dit, save_half
from .latents import (
    BUCKETS,
    OUTLINE_WEIGHT,
    OUTLINE_WIDTH,
    PROMPT_STEP,
    encode_buckets,
    outline_weights,
    scene_of_clip,
)

SCHEDULE = Schedule(steps=3000, learning_rate=1.5e-3, warmup=200, decay_share=0.3, checkpoint_seconds=300)
# Every step mixes buckets: this many draws of one, each filled up with clips to about this many tokens.
MICRO_BATCHES = 4
TOKENS = 1000
# Training times are shifted toward noise, where layout and motion are decided.
TIME_SHIFT = 3.0
DROP_PROMPT = 0.1
CHECKPOINT = WORK / "dit.pt"
# Frames of held-out clips whose loss is watched; the model never trains on the last size.
VALIDATION_SIZES = (128, 192, 256)
VALIDATION_CLIPS = 4
VALIDATION_SIGMAS = (0.9, 0.6)
HELD_OUT = 2**40


@dataclass(frozen=True)
class Clips:
    """Latents (N, 16, 5, h, w), prompts (N, 4, TEXT_WIDTH) and weights of the loss (N, 1, 5, h, w)."""

    latents: Tensor
    prompts: Tensor
    weights: Tensor


def trained_clips(vae_file: Path, machine: Machine) -> list[Clips]:
    """The clips of every bucket."""
    found = []
    for bucket, latents in zip(BUCKETS, encode_buckets(BUCKETS, vae_file, machine), strict=True):
        scenes = [scene_of_clip(bucket, number) for number in range(bucket.clips)]
        found.append(clips_of(scenes, latents, (bucket.height, bucket.width), machine))
    return found


def clips_of(scenes: list[Scene], latents: Tensor, size: tuple[int, int], machine: Machine) -> Clips:
    """size: height and width in pixels."""
    prompts = torch.cat([embed_prompt(scene.prompt) for scene in scenes])
    weights = torch.stack([outline_weights(scene, *size) for scene in scenes])
    return Clips(*(tensor.to(machine.device) for tensor in (latents, prompts, weights)))


def held_out_clips(size: int, vae_file: Path, machine: Machine = CPU) -> Clips:
    """A few clips of prompts that are never trained on."""
    prompts = held_out_prompts()[:VALIDATION_CLIPS]
    scenes = [draw_scene(HELD_OUT + number, prompt) for number, prompt in enumerate(prompts)]
    vae, to_model_space = load_vae(vae_file, machine.device)
    with torch.no_grad():
        latents = to_model_space(vae(torch.stack([render(scene, size) for scene in scenes])))
    return clips_of(scenes, latents, (size, size), machine)


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
    """What one piece of a step is computed from.

    latents, noise: (B, 16, 5, h, w). prompts: (B, 4, TEXT_WIDTH). weights: (B, 1, 5, h, w). sigma: (B,).
    """

    latents: Tensor
    prompts: Tensor
    weights: Tensor
    sigma: Tensor
    noise: Tensor


def weighted_loss(model: HostModule, draw: Draw) -> tuple[Tensor, Tensor]:
    """Flow matching in model space, noise minus clean latent -> the loss and its plain squares (B, ...)."""
    mix = rearrange(draw.sigma, "b -> b 1 1 1 1")
    state = (1 - mix) * draw.latents + mix * draw.noise
    with fast_precision(state.device.type):
        velocity = model(state, draw.sigma * 1000, draw.prompts)
    squared = (velocity.float() - (draw.noise - draw.latents)).square()
    return (squared * draw.weights).mean(), squared.detach()


def draw_batch(clips: Clips, tokens: int, generator: torch.Generator) -> Draw:
    """Clips, their times and noise; some clips lose their prompt, for guidance.

    generator: of the clips' device. tokens: of one clip.
    """
    count, device = max(round(TOKENS / tokens), 1), clips.latents.device
    drawn = {"generator": generator, "device": device}
    index = torch.randint(len(clips.latents), (count,), **drawn)
    latents = clips.latents[index]
    noise = torch.randn(latents.shape, **drawn)
    uniform = torch.rand(count, **drawn)
    sigma = TIME_SHIFT * uniform / (1 + (TIME_SHIFT - 1) * uniform)
    dropped = torch.rand(count, **drawn) < DROP_PROMPT
    # An empty prompt is zeros.
    prompts = torch.where(dropped[:, None, None], 0.0, clips.prompts[index])
    return Draw(latents, prompts, clips.weights[index], sigma, noise)


def train_dit(
    steps: int | None = None,
    start: Path | None = None,
    vae_file: Path = VAE_FILE,
    machine: Machine = CPU,
) -> HostModule:
    """Trains from where it stopped and writes a file into WORK; steps shortens the training (for trials).

    start: a DiT file to begin with. vae_file: the VAE whose latents the model learns.
    """
    clips = trained_clips(vae_file, machine)
    shares = torch.tensor([float(bucket.share) for bucket in BUCKETS])
    held_out = {size: held_out_clips(size, vae_file, machine) for size in VALIDATION_SIZES}
    torch.manual_seed(0)
    model = new_dit().to(machine.device)
    if start:
        start_weights(model, start)
    named = list(model.named_parameters())
    matrices = {value for name, value in named if name.startswith("blocks.") and value.ndim == 2}
    parameters, workers = [value for _, value in named], Workers(machine.threads)
    optimizer = MuonWithAdamW(parameters, matrices, workers)
    mean_loss = mean_loss_of(lambda draw: weighted_loss(model, draw)[0], parameters, machine, workers)

    def loss_of_step(step: int) -> dict[str, Tensor]:
        chosen = torch.multinomial(
            shares, MICRO_BATCHES, True, generator=torch.Generator().manual_seed(step)
        ).tolist()
        generator = torch.Generator(machine.device).manual_seed(step)
        return {"loss": mean_loss([draw_batch(clips[n], BUCKETS[n].tokens, generator) for n in chosen])}

    schedule = SCHEDULE if steps is None else replace(SCHEDULE, steps=steps)
    recipe = fingerprint(
        BUCKETS,
        STYLE,
        PROMPT_STEP,
        OUTLINE_WEIGHT,
        OUTLINE_WIDTH,
        MICRO_BATCHES,
        TOKENS,
        TIME_SHIFT,
        DROP_PROMPT,
        replace(schedule, steps=0),
    )
    settings = {
        "--steps": str(schedule.steps),
        "--start": file_fingerprint(start) if start else "none",
        "--vae": file_fingerprint(vae_file),
        "constants of the recipe": recipe,
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # every draw of a step has a thread of its own
    try:
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
    finally:
        torch.set_num_threads(threads)
    export_dit(average, WORK / DIT_FILE.name)
    return average


def mean_loss_of(
    loss_of: Callable[[Draw], Tensor], parameters: list[nn.Parameter], machine: Machine, workers: Workers
) -> Callable[[list[Draw]], Tensor]:
    """How the mean loss of a step's draws is computed: recorded on a GPU, by threads on a CPU."""
    if machine.on_gpu:
        return RecordedLosses(loss_of, parameters).mean_loss
    return lambda draws: workers.mean_loss([partial(loss_of, draw) for draw in draws], parameters)


@torch.no_grad()
def validation(model: HostModule, held_out: dict[int, Clips]) -> str:
    """Loss on held-out clips by frame size, at fixed times and noise."""
    report = []
    for size, clips in held_out.items():
        latents = clips.latents
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(size)).to(latents)
        losses = []
        for sigma in VALIDATION_SIGMAS:
            draw = Draw(latents, clips.prompts, clips.weights, latents.new_full((len(noise),), sigma), noise)
            losses.append(weighted_loss(model, draw)[1].mean().item())
        report.append(f"{size}: {' '.join(f'{loss:.4f}' for loss in losses)}")
    return f"held-out loss at sigma {VALIDATION_SIGMAS}: " + " | ".join(report)


def export_checkpoint(path: Path) -> None:
    """Writes the averaged weights of the last checkpoint as a file that ComfyUI loads."""
    model = new_dit()
    model.load_state_dict(read_average(CHECKPOINT))
    export_dit(model, path)


def export_dit(model: nn.Module, path: Path) -> None:
    save_half(model.state_dict(), path, "S2Flow demo: small Wan 2.1 text-to-video")
