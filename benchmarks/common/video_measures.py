"""Figures read off decoded pixels: what a video shows, how it moves, how much detail it has."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from demo.clips.detail import detail_energy, smaller
from demo.clips.grounds import as_many_waves, leading_waves
from demo.clips.looks import Looks, looks_of
from demo.clips.observe import observe
from demo.clips.psnr import psnr
from demo.clips.scenes import draw_scene, render
from demo.vocabulary import Prompt

# Scenes that only serve to say how much detail a true video of a prompt has.
TRUTH_SEED = 2_000_000


def true_detail(prompt: Prompt, seed: int, small: Tensor, size: int) -> float:
    """Detail energy of a scene of a prompt with as many waves as the small video (frames, h, w, 3) has.

    size: of the large video; detail is what the small one cannot show of it.
    """
    scene = draw_scene(TRUTH_SEED + seed, prompt)
    low, high = scene.style.ground_scale
    scale = leading_waves(small) / scene.leading_waves * scene.ground_scale
    truth = render(replace(scene, ground_scale=min(max(scale, low), high)), size)
    return detail_energy(truth, size // small.shape[1])


def flicker_score(video: Tensor) -> float:
    """VBench's temporal flickering, 1 - mean absolute difference of frames: a frozen video gets 1."""
    return float(1 - (video[1:] - video[:-1]).abs().mean())


def video_row(video: Tensor, small: Tensor, prompt: Prompt, detail: float) -> dict[str, float]:
    """All columns of one video.

    video: (frames, H, W, 3). small: the decoded LR video. detail: true detail energy of the prompt.
    color, shape, direction, single: 1 where the video shows it. motion: travel of the object in frame
    heights. detail: energy of fine detail over the truth's. LR PSNR: dB between the shrunk video and LR.
    waves: 1 where the ground has as many per frame height as LR's, within 10 %. ragged, ghost, blotches: as
    in `Looks`; the first two are left out where no object is seen.
    """
    seen, times = observe(video), video.shape[1] // small.shape[1]
    shown, waves = seen.fidelity(prompt), leading_waves(small)
    travel = math.dist(seen.track[0], seen.track[-1]) if seen.track else 0.0
    words = {word: float(shown[word]) for word in ("color", "shape", "direction")}
    return words | {
        "single": float(seen.single),
        "prompt": float(all(words.values()) and seen.single),
        "flicker": flicker_score(video),
        "motion": travel,
        "detail": detail_energy(video, times) / detail,
        "LR PSNR": psnr(smaller(video, times), small),
        **look_columns(looks_of(video, seen, waves), waves),
    }


def look_columns(looks: Looks, waves: float) -> dict[str, float]:
    """What the eye sees, as columns of a row. waves: those that should lead in the ground."""
    columns = {
        "waves": float(as_many_waves(looks.waves, waves)),
        "ragged": looks.raggedness,
        "ghost": looks.ghost,
    }
    return {name: value for name, value in columns.items() if value is not None} | {
        "blotches": looks.blotches
    }
