"""The runs with positions scaled and left as they are."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmarks.common.kept_rows import Row, Rows
from benchmarks.quality.runs import DEFAULT_WINDOWS, ENLARGED, Seed
from benchmarks.rope.repetition import repetition
from demo.clips.detail import enlarged
from s2flow_core.attention.rotary import MEASURED_ROPE

# Few and many: the more steps run at the large size, the more the positions matter.
STEPS_LEFT, QUICK_STEPS_LEFT = (10, 30), (10,)
PLAIN = MEASURED_ROPE


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

    def columns(video: Tensor) -> Row:
        return seed.seen(video) | {"repetition": repetition(video, seed.size)}

    rows = {ENLARGED: columns(enlarged(seed.small_video))}
    for left in steps_left:
        plans = {"dense": None, "windows": seed.plan(DEFAULT_WINDOWS, left)}
        for attention, plan in plans.items():
            for change in CHANGES:
                given = {"rope": change.rope, "attention_temperature": change.temperature, "windows": plan}
                result = seed.run.high_res(seed.triple(left), **given)
                rows[f"t_i {left}, {attention}, {change}"] = columns(seed.decoded(result))
    return rows
