"""Trains the small Wan VAE on crops of procedural clips: single frames first, then whole clips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.data import Dataset

from demo.clips.detail import detail_energy
from demo.clips.psnr import psnr
from demo.clips.scenes import FRAMES, TRAIN_SIZE, draw_scene, render
from demo.clips.styles import STYLE
from demo.files import VAE_FILE, WORK
from training.checkpoints import read_average
from training.fingerprint import file_fingerprint, fingerprint
from training.loop import Schedule, train
from training.optimizers import MuonWithAdamW
from training.precision import fast_precision

from ..machine import CPU, Machine
from ..recorded_loss import RecordedLosses
from ..vae_clip import build_vae, decode_clip, encode_clip, freeze_attention
from ..wan import fold_latent_scale, read_vae, save_half

DIM = 16
CROP = 48
# Of the latents' own spread: what a model samples is never quite what an encoder writes. No more, because
# fine lines move a latent little.
LATENT_NOISE = 0.025
LATENT_PENALTY = 1e-5
# Sizes that crops are cut from, and how often; a frame of 256 is what the small models are enlarged to.
SIZES = {64: 0.1, 96: 0.1, 128: 0.3, 192: 0.2, 256: 0.3}
# Share of the crops that follow the object: its moving edges are hard, and most of a frame is ground.
OBJECT_SHARE = 0.6
# How much the first frame of a latent group counts. Both halvings of the frame rate read it through a tap
# that single frames do not train, so it lags behind the other three and shows a ghost of the frame before.
FIRST_FRAME_WEIGHT = 1.5
# Errors between neighbouring pixels count beside those of pixels. Fine lines are few and weak: without it,
# and with twice the noise, a VAE of 35 dB kept less than half of the fine detail (`demo.measure`).
DETAIL_WEIGHT = 1.0
# Clips whose latents set the scale that the shipped file's latents get.
SCALE_CLIPS = 24
# Whole clips: the oldest tap of the first temporal upsampling sees nothing in clips of fewer than 13 frames.
STAGE_BATCH = {"frames": (64, 1), "clips": (12, FRAMES)}  # clips in a batch, frames in a clip
STAGES = {
    "frames": Schedule(steps=430, learning_rate=3e-3, decay_share=0.1),
    "clips": Schedule(steps=3000, learning_rate=1.5e-3, decay_share=0.5),
}


def place(draws: Tensor, center: tuple[float, float], size: int) -> tuple[int, int]:
    """Left and top of a crop; draws: (3,) in 0..1, which say whether it follows the object, and where."""
    room = size - CROP
    if draws[0] >= OBJECT_SHARE:
        return round(float(draws[1]) * room), round(float(draws[2]) * room)
    # The object's centre lies anywhere in the crop.
    corner = [
        round(middle * size - float(draw) * CROP) for middle, draw in zip(center, draws[1:], strict=True)
    ]
    return min(max(corner[0], 0), room), min(max(corner[1], 0), room)


def crops(step: int, count: int, frames: int) -> Tensor:
    """Random crops drawn from the step number -> (count, 3, frames, CROP, CROP) in -1..1."""
    generator = torch.Generator().manual_seed(step)
    sizes = torch.multinomial(torch.tensor(list(SIZES.values())), count, True, generator=generator)
    batch = []
    for index in range(count):
        size = list(SIZES)[int(sizes[index])]
        draws = torch.rand(5, generator=generator)
        scene = draw_scene(step * count + index)
        center_x, center_y = scene.center(float(draws[3]))
        left, top = place(draws[:3], (float(center_x), float(center_y)), size)
        first = int(draws[4] * (FRAMES - frames + 1))
        batch.append(render(scene, size, frames, (left, top, CROP), first))
    return rearrange(torch.stack(batch), "b t h w c -> b c t h w") * 2 - 1


@dataclass(frozen=True)
class Crops(Dataset):
    """The crops of every step of a stage, for a DataLoader that draws several steps at a time."""

    stage: str

    def __getitem__(self, step: int) -> Tensor:
        return crops(step, *STAGE_BATCH[self.stage])


class CropStream:
    """The crops of one step after the other; beside a GPU other processes draw them ahead."""

    def __init__(self, stage: str, steps: int, machine: Machine):
        self.stage, self.steps, self.machine = stage, steps, machine
        self.coming: Iterator[Tensor] | None = None

    def of_step(self, step: int) -> Tensor:
        """(count, 3, frames, CROP, CROP) on the device; steps must follow one another."""
        if self.coming is None:
            self.coming = self.machine.drawn(Crops(self.stage), range(step, self.steps))
        clip = next(self.coming).to(self.machine.device)
        return clip.contiguous(memory_format=torch.channels_last_3d)


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def frame_weights(frames: int, device: torch.device | str = "cpu") -> Tensor:
    """(frames, 1, 1), with mean 1."""
    weights = torch.ones(frames, 1, 1, device=device)
    weights[1::4] = FIRST_FRAME_WEIGHT
    return weights / weights.mean()


@torch.no_grad()
def validation(vae: nn.Module) -> str:
    """PSNR and fine detail of held-out clips at three sizes, and how much worse groups' first frames are.

    Of the larger size only the part around the object, for a whole clip takes as long as five steps.
    """
    report = []
    for seed, size in ((1, TRAIN_SIZE), (2, 3 * TRAIN_SIZE // 2), (3, 2 * TRAIN_SIZE)):
        scene = draw_scene(seed + 2**40)
        corner = [round(float(middle) * size) - TRAIN_SIZE // 2 for middle in scene.center(0.5)]
        left, top = (min(max(edge, 0), size - TRAIN_SIZE) for edge in corner)
        clip = rearrange(render(scene, size, crop=(left, top, TRAIN_SIZE)), "t h w c -> 1 c t h w") * 2 - 1
        clip = clip.to(device_of(vae))
        decoded = decode_clip(vae, encode_clip(vae, clip)).clamp(-1, 1)
        errors = (decoded - clip).square().mean(dim=(0, 1, 3, 4))[1:]  # (16,)
        first = errors[::4].mean() / errors.view(4, 4)[:, 1:].mean()
        detail = detail_energy(shown(decoded)) / detail_energy(shown(clip))
        report.append(
            f"{size}: {psnr(decoded, clip, span=2):.2f} dB, detail {detail:.2f}, first frames {first:.2f}x"
        )
    return " | ".join(report)


def shown(clip: Tensor) -> Tensor:
    """(1, 3, frames, h, w) in -1..1 -> (frames, h, w, 3) in 0..1."""
    return rearrange((clip.float() + 1) / 2, "1 c t h w -> t h w c")


@dataclass(frozen=True)
class Draw:
    """clip: (B, 3, frames, CROP, CROP). noise: (B, 16, t, h, w), as its latent."""

    clip: Tensor
    noise: Tensor


def reconstruction_loss(vae: nn.Module, draw: Draw, weights: Tensor) -> Tensor:
    """Error of clips that go through the VAE, their latents a little disturbed, and of their fine detail."""
    with fast_precision(draw.clip.device.type):
        latent = encode_clip(vae, draw.clip).float()
        decoded = decode_clip(vae, latent + LATENT_NOISE * latent.detach().std() * draw.noise).float()
    return visible_error(decoded - draw.clip, weights) + LATENT_PENALTY * latent.square().mean()


def visible_error(error: Tensor, weights: Tensor) -> Tensor:
    """How much an error of clips (B, 3, frames, h, w) counts; weights: of frames (frames, 1, 1)."""
    plain = (error.square() + 0.05 * error.abs()) * weights
    across, down = (error.diff(dim=axis).square() * weights for axis in (-1, -2))
    return plain.mean() + DETAIL_WEIGHT * (across.mean() + down.mean())


def train_stage(
    vae: nn.Module, stage: str, steps: int | None, settings: dict[str, str], machine: Machine
) -> nn.Module:
    schedule = STAGES[stage] if steps is None else replace(STAGES[stage], steps=steps)
    parameters = [p for p in vae.parameters() if p.requires_grad]
    kernels = {p for p in parameters if p.ndim >= 4 and p.shape[0] > 3}
    optimizer = MuonWithAdamW(parameters, kernels)
    stream = CropStream(stage, schedule.steps, machine)
    generator = torch.Generator(machine.device)
    weights = frame_weights(STAGE_BATCH[stage][1], device_of(vae))
    losses = RecordedLosses(lambda draw: reconstruction_loss(vae, draw, weights), parameters)

    def loss_of_step(step: int) -> dict[str, Tensor]:
        clip = stream.of_step(step)
        count, _, frames, height, width = clip.shape
        shape = (count, 16, (frames - 1) // 4 + 1, height // 8, width // 8)
        noise = torch.randn(shape, generator=generator.manual_seed(step), device=clip.device)
        # The same few sizes come in every step, so a GPU's fastest convolution is worth looking for.
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, benchmark_limit=4):
            return {"loss": losses.mean_loss([Draw(clip, noise)])}

    checkpoint = checkpoint_of(stage)
    return train(f"VAE {stage}", vae, optimizer, loss_of_step, schedule, checkpoint, validation, settings)


def checkpoint_of(stage: str) -> Path:
    return WORK / f"vae_{stage}.pt"


def train_vae(steps: int | None = None, start: Path | None = None, machine: Machine = CPU) -> nn.Module:
    """Runs every stage from where it stopped and writes a file into WORK; steps shortens each (for trials).

    start: a VAE file whose weights take the place of the first stage, which then is left out.
    """
    torch.manual_seed(0)
    vae = (freeze_attention(read_vae(start)) if start else build_vae(DIM)).to(machine.device)
    recipe = fingerprint(
        STYLE,
        CROP,
        SIZES,
        OBJECT_SHARE,
        FIRST_FRAME_WEIGHT,
        DETAIL_WEIGHT,
        STAGE_BATCH,
        LATENT_NOISE,
        LATENT_PENALTY,
        STAGES,
    )
    settings = {
        "--steps": "as in the recipe" if steps is None else str(steps),
        "--start": file_fingerprint(start) if start else "none",
        "constants of the recipe": recipe,
    }
    for stage in STAGES if start is None else ["clips"]:
        vae = train_stage(vae, stage, steps, settings, machine)
    export_vae(vae, WORK / VAE_FILE.name)
    return vae


def export_checkpoint(path: Path) -> None:
    """Writes the averaged weights of the last stage's checkpoint as a file that ComfyUI loads."""
    vae = build_vae(DIM)
    vae.load_state_dict(read_average(checkpoint_of("clips")))
    export_vae(vae, path)


def export_vae(vae: nn.Module, path: Path) -> None:
    vae.cpu()
    fold_latent_scale(vae, *latent_statistics(vae))
    save_half(vae.state_dict(), path, "S2Flow demo: small Wan VAE")


@torch.no_grad()
def latent_statistics(vae: nn.Module) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (16,) of the latents of whole training clips."""
    latents = []
    for index in range(SCALE_CLIPS):
        clip = rearrange(render(draw_scene(index)), "t h w c -> 1 c t h w") * 2 - 1
        latents.append(encode_clip(vae, clip.to(device_of(vae))))
    together = rearrange(torch.cat(latents), "b c t h w -> c (b t h w)")
    return together.mean(dim=1), together.std(dim=1)
