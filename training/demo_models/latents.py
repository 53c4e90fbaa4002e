"""Latents of the DiT's training clips, in sizes and shapes as real video models know them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from demo.clips.scenes import FRAMES, Scene, draw_scene, render, shape_distance
from demo.clips.styles import STYLE
from demo.files import WORK
from demo.vocabulary import Prompt, all_prompts, held_out_prompts
from training.checkpoints import save_atomically
from training.fingerprint import file_fingerprint, fingerprint

from ..machine import CPU, Machine
from ..wan import load_vae

CELL = 8  # pixels of a latent cell
PATCH = 2  # cells of a token, in height and width
TOKEN_EDGE = CELL * PATCH  # pixels
# Cells at an object's outline count this much more: they alone tell one shape from another, and they are few.
OUTLINE_WEIGHT = 8.0
OUTLINE_WIDTH = 0.05  # frame heights
# From one clip's prompt to the next one's. Prime to their number, so that each has its turn, and of such
# numbers the one that spreads words, and pairs of words, most evenly over every bucket.
PROMPT_STEP = 75
ENCODED_AT_ONCE, SAVED_EVERY = 8, 128  # clips


@dataclass(frozen=True)
class Bucket:
    """Clips of one frame size. share: how many of the training's micro-batches it gets, in parts."""

    height: int
    width: int
    clips: int
    share: float

    @property
    def tokens(self) -> int:
        """Of one clip; a latent frame holds four frames, the first holds one."""
        return (1 + (FRAMES - 1) // 4) * (self.height // TOKEN_EDGE) * (self.width // TOKEN_EDGE)

    @property
    def name(self) -> str:
        return f"{self.width}x{self.height}"


# Nothing beyond 192: what is enlarged to 256 shall be as new to this model as a large size is to a real one.
BUCKETS = (
    Bucket(64, 64, 128, 1),
    Bucket(96, 96, 160, 1),
    Bucket(128, 128, 320, 3),
    Bucket(160, 160, 192, 2),
    Bucket(192, 192, 256, 4),
    Bucket(64, 112, 64, 0.5),
    Bucket(112, 64, 64, 0.5),
    Bucket(96, 160, 96, 1),
    Bucket(160, 96, 96, 1),
    Bucket(112, 192, 96, 1),
    Bucket(192, 112, 96, 1),
)


def trained_prompts() -> list[Prompt]:
    held_out = set(held_out_prompts())
    return [prompt for prompt in all_prompts() if prompt not in held_out]


def prompt_of_clip(index: int) -> Prompt:
    """Prompts take turns in large steps, so that also a bucket of few clips sees all words alike."""
    prompts = trained_prompts()
    return prompts[index * PROMPT_STEP % len(prompts)]


def scene_of_clip(bucket: Bucket, number: int) -> Scene:
    """The training clip of this number; no two buckets share a scene."""
    seed = (bucket.height * 1000 + bucket.width) * 1000 + number
    return draw_scene(seed, prompt_of_clip(seed), STYLE, bucket.width / bucket.height)


@dataclass(frozen=True)
class Renderings(Dataset):
    """Clips of buckets as frames (17, h, w, 3), for a DataLoader that renders several at a time.

    clips: (bucket, the clip's number in it).
    """

    clips: list[tuple[Bucket, int]]

    def __getitem__(self, index: int) -> Tensor:
        bucket, number = self.clips[index]
        return render(scene_of_clip(bucket, number), (bucket.height, bucket.width))


@dataclass
class Encoded:
    """The latents (1, 16, 5, h, w) of a bucket's first clips, and the file that keeps them."""

    path: Path
    made_with: str
    latents: list[Tensor]

    @classmethod
    def kept(cls, bucket: Bucket, made_with: str, folder: Path) -> Encoded:
        """What the file holds; nothing if it was made with another VAE or of other clips."""
        path = folder / f"{bucket.name}.pt"
        saved = torch.load(path, weights_only=True) if path.is_file() else {}
        if saved.get("made with") != made_with:
            return cls(path, made_with, [])
        return cls(path, made_with, list(saved["latents"][: bucket.clips].split(1)))

    def save(self) -> None:
        save_atomically({"latents": torch.cat(self.latents), "made with": self.made_with}, self.path)


def encode_buckets(
    buckets: tuple[Bucket, ...], vae_file: Path, machine: Machine = CPU, folder: Path = WORK / "latents"
) -> list[Tensor]:
    """Latents of every bucket's clips in model space -> each (clips, 16, 5, h, w); resumes from its files."""
    made_with = fingerprint(STYLE, PROMPT_STEP, file_fingerprint(vae_file))
    encoded = {bucket: Encoded.kept(bucket, made_with, folder) for bucket in buckets}
    missing = [(one, n) for one in buckets for n in range(len(encoded[one].latents), one.clips)]
    if missing:
        vae, to_model_space = load_vae(vae_file, machine.device)
        frames = machine.drawn(Renderings(missing), range(len(missing)))
        with torch.no_grad(), tqdm(total=len(missing), desc="encoding clips", mininterval=5) as progress:
            for together in batches(missing):
                bucket, last = together[-1]
                clips = torch.stack([next(frames) for _ in together])
                encoded[bucket].latents += to_model_space(vae(clips)).split(1)
                if last + 1 == bucket.clips or (last + 1) % SAVED_EVERY == 0:
                    encoded[bucket].save()
                progress.update(len(together))
    return [torch.cat(encoded[bucket].latents) for bucket in buckets]


def batches(clips: list[tuple[Bucket, int]]) -> Iterator[list[tuple[Bucket, int]]]:
    """Clips of one bucket, up to the next number that ENCODED_AT_ONCE divides."""
    for _, group in groupby(clips, lambda clip: (clip[0], clip[1] // ENCODED_AT_ONCE)):
        yield list(group)


def outline_weights(scene: Scene, height: int, width: int) -> Tensor:
    """How much each latent cell of a clip counts in the loss -> (1, 5, h, w), mean about 2."""
    x = (torch.arange(width // CELL) + 0.5) * CELL / height
    y = (torch.arange(height // CELL) + 0.5) * CELL / height
    center_x, center_y = scene.center(torch.arange(FRAMES) / (FRAMES - 1))
    local_x = x[None, None, :] - torch.as_tensor(center_x)[..., None, None]
    local_y = y[None, :, None] - torch.as_tensor(center_y)[..., None, None]
    distance = shape_distance(scene.prompt.shape, local_x, local_y, scene.radius)  # (frames, h, w)
    near = torch.exp(-((distance / OUTLINE_WIDTH) ** 2))
    # The first latent frame holds one frame, every other the mean of four.
    near = torch.cat([near[:1], rearrange(near[1:], "(t four) h w -> t four h w", four=4).mean(dim=1)])
    return 1 + OUTLINE_WEIGHT * near[None]
