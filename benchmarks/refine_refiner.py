"""The shipped Refiner against bicubic and renoise, on clips whose large version is known."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from benchmarks.kept_rows import Row, Rows
from benchmarks.small_model import SmallModel
from demo.clips import FADE_PIXELS, TRAIN_SIZE, draw_scene, render
from demo.generate import decode, guider_for
from demo.host import REFINER_FILE
from demo.measure import HELD_OUT_SEED
from demo.vocabulary import held_out_prompts

SCALE = 2
STEP_COUNTS = (8, 9, 10, 11, 12)  # the paper's table 5
WINDOWS = (2, 3, 4, 5)  # latent frames; the clips have 5
RENOISE_STRENGTH = 0.3
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
            raise SystemExit(f"{REFINER_FILE.name} is missing: train it with python -m refiner.train --demo")
        return comfy.sd.load_diffusion_model(str(REFINER_FILE))

    def scene(self, index: int) -> Any:
        prompts = held_out_prompts()
        return draw_scene(HELD_OUT_SEED + index, prompts[index % len(prompts)])

    def small_latent(self, index: int) -> Tensor:
        return self.model.models.vae.encode(render(self.scene(index), TRAIN_SIZE))

    def enlarged(self, latent: Tensor) -> Tensor:
        """Decode, bicubic, encode: where every method starts -> (1, 16, t, H, W)."""
        room = self.model.module("nodes.host.enlargement")
        transition = self.model.module("s2flow_core.transition")
        video = transition.LatentVideo(tuple(latent.shape), (1, 2, 2))
        size = transition.target_size(video, 8, scale=SCALE)
        return room.enlarge(latent, size, self.model.models.vae, "bicubic")

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


def psnr(clip: Tensor, truth: Tensor) -> float:
    """dB of values in 0..1."""
    return float(-10 * torch.log10((clip - truth).square().mean()))


def fine_band(clip: Tensor) -> Tensor:
    """The waves of a clip (T, H, W, 3) that its small rendering does not show, as a spectrum per frame.

    An octave fades out where a wave is FADE_PIXELS long at the small size; waves shorter than two pixels of
    the small size hold nothing but edges.
    """
    spectrum = torch.fft.rfft2(clip.mean(dim=-1), norm="ortho")  # (T, H, W/2+1)
    rows = torch.fft.fftfreq(clip.shape[1])[:, None]
    frequency = (rows.square() + torch.fft.rfftfreq(clip.shape[2]).square()).sqrt()  # waves per pixel
    longest = SCALE * sum(FADE_PIXELS) / 2
    return spectrum * ((frequency > 1 / longest) & (frequency <= 1 / (2 * SCALE)))


def scores(clip: Tensor, truth: Tensor) -> Row:
    """PSNR, and of the band that the small video does not show: its energy as a share of the truth's, how far
    that share is from 1 as |ln|, and its correlation with the truth."""
    ours, theirs = fine_band(clip), fine_band(truth)
    energy = float(ours.abs().square().sum() / theirs.abs().square().sum())
    correlation = float((ours * theirs.conj()).real.sum() / (ours.norm() * theirs.norm()))
    return {
        "PSNR": psnr(clip, truth),
        "fine energy": energy,
        "fine mismatch": abs(float(torch.tensor(energy).log())),
        "fine correlation": correlation,
    }


def refiner_rows(runs: RefinerRuns, index: int, quick: bool) -> Rows:
    """One clip by every method."""
    truth = render(runs.scene(index), SCALE * TRAIN_SIZE)
    small = runs.small_latent(index)
    resize = runs.model.module("s2flow_core.resample").resize_video
    side = SCALE * TRAIN_SIZE
    bicubic = resize(runs.decoded(small), (side, side), "bicubic")
    rows = {"bicubic": scores(bicubic, truth) | {"seconds": 0.0}}
    large = runs.enlarged(small)

    def add(name: str, mode: str, **inputs: Any) -> None:
        latent, seconds = runs.refine(large, index, mode, **inputs)
        rows[name] = scores(runs.decoded(latent), truth) | {"seconds": seconds}

    for steps in (10,) if quick else STEP_COUNTS:
        add(f"flow_map, {steps} steps", "flow_map", steps=steps)
    add("renoise", "renoise", strength=RENOISE_STRENGTH, seed=index, steps=4 if quick else 10)
    if quick:
        return rows
    add("flashvideo, 5 steps", "flashvideo", seed=index)
    for window in WINDOWS:
        add(f"window {window}", "flow_map", steps=10, window=window)
    rows["start (bicubic, encoded)"] = scores(runs.decoded(large), truth) | {"seconds": 0.0}
    best = runs.model.models.vae.encode(truth)
    rows["truth through the VAE"] = scores(runs.decoded(best), truth) | {"seconds": 0.0}
    return rows
