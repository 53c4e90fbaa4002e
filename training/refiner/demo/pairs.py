"""Training pairs of the demo: crops of procedural clips at the large size, and their small versions."""

from __future__ import annotations

import torch
from tqdm import tqdm

from demo.clips.scenes import TRAIN_SIZE, draw_scene, render
from demo.files import VAE_FILE
from demo.settings import SCALE
from demo.vocabulary import embed_prompt
from training.demo_models.latents import prompt_of_clip

from ..data.codec import WholeClipCodec, encode_pair
from ..data.degradation import PixelDegradation, degrade_pixels
from ..data.pair_cache import Pair, PairCache

PAIRS = 270
# Pixels of a crop; a frame's borders look different to the VAE, so crops are larger than what is trained on.
CROP = 192
# Share of the pairs whose small clip is a rendering, as the small model's own videos are.
RENDERED_SHARE = 0.6
GENTLE = PixelDegradation(blur=(0.2, 0.8), noise=(0.0, 0.02), quality=(70, 98), chance=0.4)
PAIR_RECIPE = (PAIRS, CROP, RENDERED_SHARE, GENTLE, SCALE)


def demo_pair(codec: WholeClipCodec, index: int) -> Pair:
    """Everything about a pair follows from its index."""
    generator = torch.Generator().manual_seed(index)
    scene = draw_scene(index, prompt_of_clip(index))
    scale = round(SCALE)
    places = (TRAIN_SIZE * scale - CROP) // scale + 1
    left, top = (int(torch.randint(places, (), generator=generator)) for _ in range(2))
    high = render(scene, TRAIN_SIZE * scale, crop=(left * scale, top * scale, CROP))
    small = CROP // scale
    if torch.rand((), generator=generator) < RENDERED_SHARE:
        low = render(scene, TRAIN_SIZE, crop=(left, top, small))
    else:
        low = degrade_pixels(high, (small, small), GENTLE, generator)
    high_latent, low_latent = encode_pair(codec, high, low)
    return Pair(high_latent, low_latent, embed_prompt(scene.prompt)[0])


def encode_demo_pairs(cache: PairCache, count: int = PAIRS, device: str = "cpu") -> list[str]:
    """Fills the cache and returns the names of the pairs; goes on where a stopped run was."""
    names = [f"{index:05}" for index in range(count)]
    missing = [index for index, name in enumerate(names) if not cache.has(name)]
    if missing:
        codec = WholeClipCodec(VAE_FILE, device)
        for index in tqdm(missing, desc="encoding pairs", mininterval=5):
            cache.add(names[index], demo_pair(codec, index))
    return names
