"""The runs with positions scaled and left as they are."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmarks.common.kept_rows import Row, Rows
from benchmarks.common.video_measures import enlarged, true_detail, video_row
from benchmarks.quality.runs import DEFAULT_WINDOWS, Seed
from benchmarks.rope.repetition import repetition
from demo.clips.scenes import TRAIN_SIZE
from demo.generate import decode
from demo.settings import SCALE

# Few and many: the more steps run at the large size, the more the positions matter.
STEPS_LEFT, QUICK_STEPS_LEFT = (10, 30), (10,)
PLAIN = "none"


@dataclass(frozen=True)
class Change:
    """What the High-Res Sampler is asked to change for the larger size."""

    rope: str = PLAIN
    temperature: bool = False

    def __str__(self) -> str:
        return f"{self.rope}{', temperature' if self.temperature else ''}"


CHANGES = (Change(), Change(temperature=True), Change("position"), Change("ntk"))


def rows_of_seed(seed: Seed, steps_left: tuple[int, ...]) -> Rows:
    """Every change, with dense attention and with the default windows, from the same starts."""
    small = seed.small_video()
    detail = true_detail(seed.run.prompt, seed.run.seed, int(TRAIN_SIZE * SCALE))

    def columns(video: Tensor) -> Row:
        return video_row(video, small, seed.run.prompt, detail) | {
            "repetition": repetition(video, TRAIN_SIZE)
        }

    rows = {"LR, enlarged": columns(enlarged(small))}
    for left in steps_left:
        plans = {"dense": None, "windows": seed.plan(DEFAULT_WINDOWS, left)}
        for attention, plan in plans.items():
            for change in CHANGES:
                given = {"rope": change.rope, "attention_temperature": change.temperature, "windows": plan}
                result = seed.run.high_res(seed.triple(left), **given)
                video = decode(seed.run.model.models, result.latent)[0]
                rows[f"t_i {left}, {attention}, {change}"] = columns(video)
    return rows
