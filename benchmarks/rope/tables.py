"""The table of positions, and what in it falls short."""

from __future__ import annotations

from benchmarks.common.intervals import mean_interval
from benchmarks.common.kept_rows import Rows, column
from benchmarks.common.tables import Table
from benchmarks.rope.runs import CHANGES, PLAIN, STEPS_LEFT
from demo.clips.scenes import TRAIN_SIZE
from demo.settings import SCALE, STEPS

COLUMNS = ("prompt", "single", "detail", "LR PSNR", "repetition")


def summary(seeds: list[Rows]) -> list[Table]:
    """Means over seeds, and what every change does to the same run without it, paired by seed."""
    means = Table(
        "Positions and temperature at twice the small video's size",
        ["run", *COLUMNS],
        note=f"{len(seeds)} held-out seeds, {STEPS} steps, {TRAIN_SIZE}² to {int(SCALE * TRAIN_SIZE)}².",
    )
    differences = Table(
        "What they change, with 95 % intervals", ["run", *(f"{name} minus {PLAIN}" for name in COLUMNS)]
    )
    for row in seeds[0]:
        means.add(row, *(float(column(seeds, row, name).mean()) for name in COLUMNS))
        plain = ", ".join([*row.split(", ")[:2], PLAIN])
        if row != plain and plain in seeds[0]:
            differences.add(row, *(difference(seeds, row, plain, name) for name in COLUMNS))
    return [means, differences]


def difference(seeds: list[Rows], row: str, plain: str, name: str) -> str:
    mean, low, high = mean_interval(column(seeds, row, name) - column(seeds, plain, name))
    return f"{mean:+.3f} ({low:+.3f} ... {high:+.3f})"


def problems_of(seeds: list[Rows]) -> list[str]:
    """A sentence for every change that surely beats the default where most steps run at the large size."""
    ours, *others = (f"t_i {STEPS_LEFT[-1]}, windows, {change}" for change in CHANGES)
    if ours not in seeds[0]:
        return []
    gains = {
        name: mean_interval(column(seeds, name, "prompt") - column(seeds, ours, "prompt")) for name in others
    }
    return [
        f"{name} surely shows more of the prompt than the default, {PLAIN} ({low:+.2f})."
        for name, (_, low, _) in gains.items()
        if low > 0
    ]
