"""The shipped Refiner against bicubic and renoise, on clips whose large version is known."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from benchmarks.common.kept_rows import Row, Rows
from benchmarks.common.small_model import SmallModel
from benchmarks.common.timing import processor_seconds
from demo.clips.psnr import psnr
from demo.clips.scenes import TRAIN_SIZE, draw_scene, render
from demo.clips.textures import FADE_PIXELS
from demo.files import REFINER_FILE
from demo.generate import decode, guider_for
from demo.measure import HELD_OUT_SEED
from demo.vocabulary import held_out_prompts

SCALE = 2
STEP_COUNTS = (8, 9, 10, 11, 12)  # the paper's table 5
WINDOWS = (2, 3, 4, 5)  # latent frames; the clips have 5
RENOISE_STRENGTHS = (0.2, 0.3, 0.4)  # the last is the node's default
OURS = "flow_map, 10 steps"
START = "start (bicubic, encoded)"
VAE_LIMIT = "truth through the VAE"
# No guidance: the small Refiner has one right answer to find, not a style to exaggerate.
GUIDANCE = 1.0


class RefinerRuns:
    """Enlargements of held-out clips by every method, from the VAE's latent of the small rendering."""

    def __init__(self, model: SmallModel):
        self.model = model

    @cached_property
    def refiner(self) -> Any:
        import comfy.sd

        if not REFINER_FILE.is_file():
            raise SystemExit(
                f"{REFINER_FILE.name} is missing: make it with python -m training.refiner --demo"
            )
        return comfy.sd.load_diffusion_model(str(REFINER_FILE))

    def scene(self, index: int) -> Any:
        prompts = held_out_prompts()
        return draw_scene(HELD_OUT_SEED + index, prompts[index % len(prompts)])

    def small_latent(self, index: int) -> Tensor:
        return self.model.models.vae.encode(render(self.scene(index), TRAIN_SIZE))

    def enlarged(self, latent: Tensor) -> Tensor:
        """Decode, bicubic, encode: where every method starts -> (1, 16, t, H, W)."""
        room = self.model.module("nodes.host.size.enlarge")
        sizes = self.model.module("s2flow_core.transition.sizes")
        video = sizes.LatentVideo(tuple(latent.shape), (1, 2, 2))
        size = sizes.target_size(video, 8, scale=SCALE)
        return room.enlarge(latent, size, room.video_pixels(self.model.models.vae), "bicubic")

    def refine(self, large: Tensor, index: int, mode: str, **inputs: Any) -> tuple[Tensor, float]:
        """The Refiner Sampler on an already enlarged latent, and the seconds of its steps."""
        light = self.refiner if mode != "renoise" else self.model.models.model
        guidance = GUIDANCE if mode != "renoise" else 4.0
        guider = guider_for(light, [self.scene(index).prompt], guidance)
        node = self.model.module("nodes.refiner_sampler").S2FlowRefinerSampler
        started = time.process_time()
        (result,) = node.execute(
            guider=guider, latent={"samples": large}, mode=mode, scale=1.0, **inputs
        ).args
        return result["samples"], time.process_time() - started

    def decoded(self, latent: Tensor) -> Tensor:
        return decode(self.model.models, latent)[0]


def fine_band(clip: Tensor) -> Tensor:
    """The waves of a clip (T, H, W, 3) that its small rendering lacks or shows in part, a spectrum per frame.

    An octave fades out where a wave is FADE_PIXELS long at the small size; waves shorter than two pixels of
    the small size hold nothing but edges.
    """
    spectrum = torch.fft.rfft2(clip.mean(dim=-1), norm="ortho")  # (T, H, W/2+1)
    rows = torch.fft.fftfreq(clip.shape[1])[:, None]
    frequency = (rows.square() + torch.fft.rfftfreq(clip.shape[2]).square()).sqrt()  # waves per pixel
    longest = SCALE * sum(FADE_PIXELS) / 2
    return spectrum * ((frequency > 1 / longest) & (frequency <= 1 / (2 * SCALE)))


def scores(clip: Tensor, truth: Tensor) -> Row:
    """PSNR, and what the band that the small video lacks has in common with the truth's.

    fine energy: its share of the truth's; fine mismatch: how far that is from 1, as |ln|; fine spectrum
    error: sum |power - truth's| / sum of truth's over its frequencies, blind to where things are.
    """
    ours, theirs = fine_band(clip), fine_band(truth)
    power, true_power = (band.abs().square().sum(dim=0) for band in (ours, theirs))
    energy = float(power.sum() / true_power.sum())
    correlation = float((ours * theirs.conj()).real.sum() / (ours.norm() * theirs.norm()))
    return {
        "PSNR": psnr(clip, truth),
        "fine energy": energy,
        "fine mismatch": abs(float(torch.tensor(energy).log())),
        "fine spectrum error": float((power - true_power).abs().sum() / true_power.sum()),
        "fine correlation": correlation,
    }


def renoised(strength: float) -> str:
    """The name of a row."""
    return f"renoise {strength:g}"


@dataclass(frozen=True)
class Clip:
    """A held-out clip: its large truth, the latent of its small rendering, and that enlarged."""

    runs: RefinerRuns
    index: int
    truth: Tensor
    small: Tensor
    large: Tensor

    def row(self, mode: str, **inputs: Any) -> Row:
        """The Refiner Sampler's result."""
        latent, seconds = self.runs.refine(self.large, self.index, mode, **inputs)
        return scores(self.runs.decoded(latent), self.truth) | processor_seconds("seconds", seconds)

    def shown(self, video: Tensor) -> Row:
        """A video that took no steps."""
        return scores(video, self.truth) | processor_seconds("seconds", 0.0)


def clip_of(runs: RefinerRuns, index: int) -> Clip:
    small = runs.small_latent(index)
    return Clip(runs, index, render(runs.scene(index), SCALE * TRAIN_SIZE), small, runs.enlarged(small))


def method_rows(runs: RefinerRuns, index: int, quick: bool) -> Rows:
    """One clip by every method."""
    clip = clip_of(runs, index)
    resize = runs.model.module("s2flow_core.latent.resample").resize_video
    side = SCALE * TRAIN_SIZE
    rows = {
        "bicubic": clip.shown(resize(runs.decoded(clip.small), (side, side), "bicubic")),
        OURS: clip.row("flow_map", steps=10),
    }
    for strength in RENOISE_STRENGTHS[-1:] if quick else RENOISE_STRENGTHS:
        rows[renoised(strength)] = clip.row(
            "renoise", strength=strength, seed=index, steps=4 if quick else 10
        )
    rows[START] = clip.shown(runs.decoded(clip.large))
    if not quick:
        rows["flashvideo, 5 steps"] = clip.row("flashvideo", seed=index)
        rows[VAE_LIMIT] = clip.shown(runs.decoded(runs.model.models.vae.encode(clip.truth)))
    return rows


def variant_rows(runs: RefinerRuns, index: int) -> Rows:
    """One clip with other numbers of steps and with temporal windows."""
    clip = clip_of(runs, index)
    rows = {f"flow_map, {steps} steps": clip.row("flow_map", steps=steps) for steps in STEP_COUNTS}
    for window in WINDOWS:
        rows[f"window {window}"] = clip.row("flow_map", steps=10, window=window)
    return rows
