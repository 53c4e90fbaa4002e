"""Training pairs from a folder of videos: degraded, encoded, and kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from .buckets import UNIT, bucket_size, fit_bucket
from .codec import Codec, encode_pair
from .degradation import PixelDegradation, degrade_pixels
from .pair_cache import Pair, PairCache
from .videos import ClipRules, SkippedVideos, list_videos, unreadable, usable_clips


@dataclass(frozen=True)
class VideoData:
    """folder: of videos. area: of the large clips in pixels. scale: between small and large.

    variants: differently degraded copies of each clip.
    """

    folder: Path
    area: int
    scale: float = 2.0
    variants: int = 2
    rules: ClipRules = field(default_factory=ClipRules)
    degradation: PixelDegradation = field(default_factory=PixelDegradation)


def encode_videos(data: VideoData, codec: Codec, context: Tensor, cache: PairCache) -> SkippedVideos:
    """Fills the cache; goes on where a stopped run was. context: (tokens, width), the text of every clip."""
    skipped = SkippedVideos(data.folder)
    missing = {}
    for path in list_videos(data.folder):
        try:
            missing[path] = missing_pairs(path, data, cache)
        except OSError as problem:
            skipped.add(path, unreadable(problem))
    unread = [path for path, names in missing.items() if names]
    for path, frames in usable_clips(unread, data.rules, skipped):
        size = bucket_size(frames.shape[2], frames.shape[1], data.area)
        high = fit_bucket(frames, size)
        small = tuple(max(UNIT // 2, round(side / data.scale / 8) * 8) for side in size)
        for variant, name in missing[path]:
            generator = torch.Generator().manual_seed(int(name[:8], 16))
            low = degrade_pixels(high, (small[0], small[1]), data.degradation, generator)
            high_latent, low_latent = encode_pair(codec, high, low)
            cache.add(name, Pair(high_latent, low_latent, context))
            print(f"{path.name}: {size[1]}×{size[0]}, {len(high)} frames, variant {variant + 1}", flush=True)
    return skipped


def missing_pairs(path: Path, data: VideoData, cache: PairCache) -> list[tuple[int, str]]:
    """Variants of a video that are not in the cache yet, with their names."""
    names = [pair_name(path, data, variant) for variant in range(data.variants)]
    return [(variant, name) for variant, name in enumerate(names) if not cache.has(name)]


def pair_name(path: Path, data: VideoData, variant: int) -> str:
    """A name that changes with everything that the pair depends on."""
    facts = path.stat()
    text = f"{path.name} {facts.st_size} {data.area} {data.scale} {data.degradation} {data.rules} {variant}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
