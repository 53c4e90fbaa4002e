"""`python -m demo.measure`: what the shipped small models can do, against what they must.

Every figure is read off decoded pixels (`observe.py`) on prompts and seeds that training never saw.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass

import torch
from tqdm import tqdm

from comfyui_runner.installation import import_comfy

from .clips.observe import Observation, observe
from .clips.scenes import TRAIN_SIZE, draw_scene, render
from .generate import DemoModels, decode, load_models, sample_latents
from .measured_on import measured_on
from .vocabulary import Prompt, held_out_prompts

# Seeds far from those of training clips, which count up from 0.
HELD_OUT_SEED = 1_000_000
VAE_CLIPS = 8
BATCH = 4


@dataclass(frozen=True)
class Measure:
    """One figure with the least value that the project holds itself to."""

    name: str
    value: float
    least: float
    unit: str

    @property
    def met(self) -> bool:
        return self.value >= self.least

    def __str__(self) -> str:
        mark = "met" if self.met else "FALLS SHORT"
        return f"{self.name:<48} {self.value:7.2f} {self.unit:<3} at least {self.least:g}  {mark}"


def reconstruction_psnr(models: DemoModels, size: int) -> float:
    """Mean PSNR in dB of held-out clips after encode and decode by the core VAE."""
    values = []
    for index in range(VAE_CLIPS):
        clip = render(draw_scene(HELD_OUT_SEED + index), size)  # (frames, H, W, 3)
        decoded = decode(models, models.vae.encode(clip))[0]
        error = (decoded - clip).square().mean()
        values.append(float(-10 * torch.log10(error)))
    return sum(values) / len(values)


def held_out_cases(count: int) -> list[tuple[Prompt, int]]:
    """Prompts take turns; every case has its own seed."""
    prompts = held_out_prompts()
    return [(prompts[index % len(prompts)], HELD_OUT_SEED + index) for index in range(count)]


def generated_observations(models: DemoModels, cases: list[tuple[Prompt, int]]) -> list[Observation]:
    """Samples every case at the training size and reads the decoded pixels."""
    observations = []
    for first in tqdm(range(0, len(cases), BATCH), desc="sampling", mininterval=5, disable=None):
        batch = cases[first : first + BATCH]
        latents = sample_latents(
            models, [prompt for prompt, _ in batch], [seed for _, seed in batch], TRAIN_SIZE
        )
        observations += [observe(clip) for clip in decode(models, latents)]
    return observations


def measure(count: int) -> list[Measure]:
    models = load_models()
    measures = [
        Measure(f"VAE reconstruction, {size}x{size}", reconstruction_psnr(models, size), 28, "dB")
        for size in (TRAIN_SIZE, 2 * TRAIN_SIZE)
    ]
    cases = held_out_cases(count)
    observations = generated_observations(models, cases)

    def share(hits: list[bool]) -> float:
        return 100 * sum(hits) / len(hits)

    shown = [seen.fidelity(prompt) for seen, (prompt, _) in zip(observations, cases, strict=True)]
    for word, least in (("color", 95), ("shape", 85), ("direction", 90), ("ground", 0)):
        measures.append(Measure(f"right {word}, {count} videos", share([s[word] for s in shown]), least, "%"))
    single = share([seen.single for seen in observations])
    measures.append(Measure(f"exactly one object, {count} videos", single, 90, "%"))
    return measures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=64, help="videos to sample (default 64)")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--check", action="store_true", help="exit 1 and name what falls short")
    arguments = parser.parse_args()
    import_comfy()
    with torch.inference_mode():
        measures = measure(arguments.count)
    for line in measures:
        print(line)
    if arguments.json:
        figures = [vars(line) | {"met": line.met} for line in measures]
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"where": measured_on(), "count": arguments.count, "measures": figures}, file, indent=1)
            file.write("\n")
    missed = [line.name for line in measures if not line.met]
    if arguments.check and missed:
        sys.exit(f"falls short: {', '.join(missed)}")


if __name__ == "__main__":
    main()
