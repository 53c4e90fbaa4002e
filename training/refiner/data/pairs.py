"""Training pairs from a folder of videos: degraded, encoded, and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from training.fingerprint import fingerprint

from .buckets import UNIT, bucket_size, fit_bucket
from .captions import TextEncoder, caption_of
from .codec import Codec, encode_pair
from .degradation import PixelDegradation, degrade_pixels
from .pair_cache import Pair, PairCache
from .videos import ClipRules, SkippedVideos, Unusable, list_videos, unreadable, usable_clips


@dataclass(frozen=True)
class PairSettings:
    """What a pair depends on beside its video.

    area: of the large clips in pixels. scale: between small and large. vae, text: the encoders' fingerprints.
    """

    area: int
    scale: float
    vae: str
    text: str
    rules: ClipRules = field(default_factory=ClipRules)
    degradation: PixelDegradation = field(default_factory=PixelDegradation)


@dataclass(frozen=True)
class Video:
    """A file as it lies below the training folder, before it is read.

    name: its path below the folder. facts: change when the file or its caption does.
    """

    path: Path
    name: str
    caption: str
    facts: str

    def pair_name(self, settings: PairSettings, variant: int) -> str:
        """A name that changes with everything that the pair depends on."""
        return fingerprint(self.facts, settings, variant)


def find_videos(folder: Path, skipped: SkippedVideos, captions: bool) -> list[Video]:
    """Every video below the folder; a dangling link or an unreadable caption is skipped.

    captions: read the text beside each; without, a caption says nothing and changes nothing.
    """
    videos = []
    for path in list_videos(folder):
        try:
            file = path.stat()
            caption = caption_of(path) if captions else ""
        except OSError as problem:
            skipped.add(path, unreadable(problem))
            continue
        except Unusable as reason:
            skipped.add(path, reason)
            continue
        name = path.relative_to(folder).as_posix()
        facts = fingerprint(name, file.st_size, file.st_mtime_ns, caption)
        videos.append(Video(path, name, caption, facts))
    return videos


def encode_videos(
    videos: list[Video],
    settings: PairSettings,
    variants: int,
    codec_of: Callable[[], Codec],
    text: TextEncoder,
    cache: PairCache,
    skipped: SkippedVideos,
) -> list[str]:
    """Names of the pairs that the videos gave; those that a former run left in the cache are not made again.

    variants: differently degraded copies of each clip. codec_of: loads the VAE, called when it is needed.
    """
    names = {video.path: [video.pair_name(settings, i) for i in range(variants)] for video in videos}
    by_path = {video.path: video for video in videos}
    unread = [path for path, wanted in names.items() if not all(map(cache.has, wanted))]
    codec = codec_of() if unread else None
    for path, frames in usable_clips(unread, settings.rules, skipped):
        assert codec is not None
        video = by_path[path]
        size = bucket_size(frames.shape[2], frames.shape[1], settings.area)
        high = fit_bucket(frames, size)
        height, width = (max(UNIT // 2, round(side / settings.scale / 8) * 8) for side in size)
        for variant, name in enumerate(names[path]):
            if cache.has(name):
                continue
            # From the place alone, so that a copied folder is degraded alike.
            seed = int(fingerprint(video.name, variant)[:8], 16)
            generator = torch.Generator().manual_seed(seed)
            low = degrade_pixels(high, (height, width), settings.degradation, generator)
            high_latent, low_latent = encode_pair(codec, high, low)
            cache.add(name, Pair(high_latent, low_latent, text.encode(video.caption)))
            print(f"{video.name}: {size[1]}×{size[0]}, {len(high)} frames, variant {variant + 1}", flush=True)
    return [name for wanted in names.values() for name in wanted if cache.has(name)]
