"""Rotary positions and attention temperature at twice the trained size, on the shipped small model.

    python -m benchmarks.rope [--seeds N] [--share I/N] [--quick] [--check] [--json FILE]

Every run starts from the small videos of benchmarks.quality, and its columns have that benchmark's meaning.
Repetition: correlation of a clip with itself at the training size. The clips' ground is made of waves and
repeats by nature, so the small video merely enlarged is the row to compare with. Every finished seed is kept
in demo/work/, so a stopped run goes on where it was. These are figures of a small model on simple clips.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.bootstrap import mean_interval
from benchmarks.fast_host import import_fast_comfy
from benchmarks.kept_rows import KeptRows, Row, Rows, add_share_option, share_of
from benchmarks.quality_runs import DEFAULT_WINDOWS, Seed
from benchmarks.repetition import repetition
from benchmarks.small_model import SmallModel, digest_of
from benchmarks.tables import Table, add_report_options, report, where
from benchmarks.video_measures import enlarged, true_detail, video_row
from demo.clips import TRAIN_SIZE
from demo.generate import decode
from demo.host import DIT_FILE, VAE_FILE, WORK
from demo.settings import SCALE, STEPS

COLUMNS = ("prompt", "single", "detail", "LR PSNR", "repetition")
SEEDS = 16
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


def column(seeds: list[Rows], row: str, name: str) -> Tensor:
    return torch.tensor([rows[row][name] for rows in seeds], dtype=torch.float64)


def summary(seeds: list[Rows]) -> list[Table]:
    """Means over seeds, and what every change does to the same run without it, paired by seed."""
    means = Table(
        "Positions and temperature at twice the trained size",
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
    """A sentence if the default is not surely better than `none` where most steps run at the large size."""
    ours, plain = (f"t_i {STEPS_LEFT[-1]}, windows, {Change(rope)}" for rope in ("position", PLAIN))
    if ours not in seeds[0]:
        return []
    _, low, _ = mean_interval(column(seeds, ours, "prompt") - column(seeds, plain, "prompt"))
    return [] if low > 0 else [f"{ours} does not surely show more of the prompt than {PLAIN} ({low:+.2f})."]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--quick", action="store_true", help="one seed and few steps")
    add_share_option(parser)
    add_report_options(parser)
    options = parser.parse_args()
    import_fast_comfy()
    count, steps_left = (1, QUICK_STEPS_LEFT) if options.quick else (options.seeds, STEPS_LEFT)
    model = SmallModel()
    digest = digest_of(DIT_FILE, VAE_FILE)
    kept = KeptRows(None if options.quick else WORK / f"rope_{digest}.jsonl")

    def rows_of(index: int) -> Rows:
        return rows_of_seed(Seed(model, index, WORK / f"quality_{digest}"), steps_left)

    with torch.inference_mode():
        kept.measure("rope", share_of(count, options), rows_of)
    seeds = list(kept.of("rope").values())
    tables = summary(seeds)
    print("\n\n".join(table.text() for table in tables))
    return report([where(), *tables], problems_of(seeds), options)


if __name__ == "__main__":
    sys.exit(main())
