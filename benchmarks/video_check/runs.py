"""A run of the demo, and what Check Video measures of it, good and spoiled."""

from __future__ import annotations

from dataclasses import asdict

from benchmarks.common.kept_rows import Rows
from benchmarks.common.small_model import SmallModel
from benchmarks.quality.runs import DEFAULT_WINDOWS
from demo.clips.spoiled import SPOILED
from demo.generate import decode
from s2flow_core.video_check.measures import measure

GOOD = "good"


def measured_ways(model: SmallModel, index: int, steps: int, left: int) -> Rows:
    """How it was spoiled (or `GOOD`) -> the figures; for one held-out prompt and seed.

    steps: of the small run; left: of them at the large size. All else as the bundled quickstart has it.
    """
    run = model.low_res(index, steps)
    triple = run.transition(left)
    windows = DEFAULT_WINDOWS
    plan = run.windows(triple[0], windows.s, windows.policy, windows.tail)
    result = run.high_res(triple, windows=plan, rope="auto")
    large, small = (decode(model.models, latent)[0] for latent in (result.latent, run.latent))
    ways = {GOOD: large} | {way: spoil(large, small) for way, (_, spoil) in SPOILED.items()}
    return {way: asdict(measure(video, small)) for way, video in ways.items()}
