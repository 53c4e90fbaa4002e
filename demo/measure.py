"""`python -m demo.measure`: what the shipped small models can do, against what they must.

Every figure is read off decoded pixels (`observe.py`) on seeds that no training saw, and prompts that
the DiT's never did.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from comfyui_runner.installation import computes_on, import_exact_comfy

from .clips.detail import detail_energy
from .clips.ghosts import ghost, motion_of_scene
from .clips.grounds import as_many_waves
from .clips.looks import Looks, looks_of
from .clips.observe import Observation, observe
from .clips.psnr import psnr
from .clips.scenes import TRAIN_SIZE, Scene, draw_scene, render
from .clips.styles import STYLE
from .generate import DemoModels, decode, load_models, sample_latents
from .measured_on import measured_on
from .vocabulary import Prompt, held_out_prompts

# Seeds far from those of training clips, which count up from 0.
HELD_OUT_SEED = 1_000_000
VAE_CLIPS = 8
VAE_SIZES = (TRAIN_SIZE, TRAIN_SIZE * 3 // 2, 2 * TRAIN_SIZE)
BATCH = 4


@dataclass(frozen=True)
class Measure:
    """One figure with the least or the most that the project holds itself to.

    truth: what the same figure is for renderings, where it says something.
    """

    name: str
    value: float
    unit: str
    least: float | None = None
    most: float | None = None
    truth: float | None = None

    @property
    def met(self) -> bool:
        above = self.least is None or self.value >= self.least
        return above and (self.most is None or self.value <= self.most)

    def __str__(self) -> str:
        bars = [
            f"{word} {bar:g}"
            for word, bar in (("at least", self.least), ("at most", self.most))
            if bar is not None
        ]
        truth = "" if self.truth is None else f"  truth {self.truth:.2f}"
        mark = ("  met" if self.met else "  FALLS SHORT") if bars else ""
        return f"{self.name:<48} {self.value:7.2f} {self.unit:<3} {' '.join(bars)}{mark}{truth}"


@dataclass(frozen=True)
class Reconstruction:
    """A held-out clip (frames, H, W, 3) before and after the VAE."""

    scene: Scene
    clip: Tensor
    decoded: Tensor

    @property
    def psnr(self) -> float:
        return psnr(self.decoded, self.clip)

    @property
    def detail(self) -> float:
        """What is left of the clip's fine detail, as a share of its energy."""
        return detail_energy(self.decoded) / detail_energy(self.clip)


def reconstructions(models: DemoModels, size: int) -> list[Reconstruction]:
    """Held-out clips after encode and decode by the core VAE."""
    found = []
    for index in range(VAE_CLIPS):
        scene = draw_scene(HELD_OUT_SEED + index)
        clip = render(scene, size)
        found.append(Reconstruction(scene, clip, decode(models, models.vae.encode(clip))[0]))
    return found


def vae_measures(models: DemoModels) -> list[Measure]:
    """PSNR and fine detail at every size, and the ghost at the training size.

    Detail has a bar of its own: fine lines are few and weak, so a VAE that loses them has a good PSNR.
    """
    found = {size: reconstructions(models, size) for size in VAE_SIZES}
    measures = [
        Measure(f"VAE reconstruction, {size}x{size}", mean([one.psnr for one in clips]), "dB", least=32)
        for size, clips in found.items()
    ]
    measures += [
        Measure(f"VAE fine detail, {size}x{size}", 100 * mean([one.detail for one in clips]), "%", least=60)
        for size, clips in found.items()
    ]
    smallest = [(one, motion_of_scene(one.scene, len(one.clip))) for one in found[TRAIN_SIZE]]
    seen = mean([ghost(one.decoded, motion) for one, motion in smallest])
    true = mean([ghost(one.clip, motion) for one, motion in smallest])
    return [*measures, Measure("VAE ghost in first frames", seen, "x", most=1.1, truth=true)]


def mean(values: list[float]) -> float:
    """NaN where there is nothing to average, which no bar is met by."""
    return sum(values) / len(values) if values else float("nan")


def held_out_cases(count: int) -> list[tuple[Prompt, int]]:
    """Prompts take turns; every case has its own seed."""
    prompts = held_out_prompts()
    return [(prompts[index % len(prompts)], HELD_OUT_SEED + index) for index in range(count)]


def generated(models: DemoModels, cases: list[tuple[Prompt, int]]) -> list[tuple[Observation, Looks]]:
    """Samples every case at the training size and reads the decoded pixels."""
    found = []
    for first in tqdm(range(0, len(cases), BATCH), desc="sampling", mininterval=5, disable=None):
        batch = cases[first : first + BATCH]
        latents = sample_latents(
            models, [prompt for prompt, _ in batch], [seed for _, seed in batch], TRAIN_SIZE
        )
        for clip in decode(models, latents):
            seen = observe(clip)
            found.append((seen, looks_of(clip, seen)))
    return found


def true_looks(cases: list[tuple[Prompt, int]]) -> list[Looks]:
    """The same figures of one rendering of every prompt among the cases."""
    clips = [render(draw_scene(seed, prompt)) for prompt, seed in {case[0]: case for case in cases}.values()]
    return [looks_of(clip, observe(clip)) for clip in clips]


def word_measures(observations: list[Observation], cases: list[tuple[Prompt, int]]) -> list[Measure]:
    """How often the videos show what they were asked for."""
    shown = [seen.fidelity(prompt) for seen, (prompt, _) in zip(observations, cases, strict=True)]
    count = len(cases)

    def share(hits: list[bool]) -> float:
        return 100 * mean([float(hit) for hit in hits])

    measures = [
        Measure(f"right {word}, {count} videos", share([s[word] for s in shown]), "%", least=least)
        for word, least in (("color", 98), ("shape", 95), ("direction", 98), ("ground", 0))
    ]
    single = share([seen.single for seen in observations])
    return [*measures, Measure(f"exactly one object, {count} videos", single, "%", least=98)]


def look_measures(looks: list[Looks], truth: list[Looks]) -> list[Measure]:
    """What the eye sees; without bars, for those hold for enlarged videos, but with the truth's figures."""

    def both(name: str, unit: str, figure: Callable[[Looks], float | None], scale: float = 1.0) -> Measure:
        seen, true = (
            [value for look in side if (value := figure(look)) is not None] for side in (looks, truth)
        )
        return Measure(name, scale * mean(seen), unit, truth=scale * mean(true))

    def known(look: Looks) -> float:
        return float(as_many_waves(look.waves, *STYLE.leading_waves))

    return [
        both("waves per frame height as clips have", "%", known, 100),
        both("raggedness of outlines", "x", lambda look: look.raggedness),
        both("ghost in first frames", "x", lambda look: look.ghost),
        both("blotches on the ground", "%", lambda look: look.blotches, 100),
    ]


def measure(count: int) -> list[Measure]:
    models = load_models()
    cases = held_out_cases(count)
    found = generated(models, cases)
    return [
        *vae_measures(models),
        *word_measures([seen for seen, _ in found], cases),
        *look_measures([looks for _, looks in found], true_looks(cases)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=64, help="videos to sample (default 64)")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--check", action="store_true", help="exit 1 and name what falls short")
    arguments = parser.parse_args()
    import_exact_comfy()
    with torch.inference_mode():
        measures = measure(arguments.count)
    for line in measures:
        print(line)
    if arguments.json:
        figures = [vars(line) | {"met": line.met} for line in measures]
        with open(arguments.json, "w", encoding="utf-8") as file:
            where = measured_on(computes_on())
            json.dump({"where": where, "count": arguments.count, "measures": figures}, file, indent=1)
            file.write("\n")
    missed = [line.name for line in measures if not line.met]
    if arguments.check and missed:
        sys.exit(f"falls short: {', '.join(missed)}")


if __name__ == "__main__":
    main()
