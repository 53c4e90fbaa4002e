"""Rotary positions and attention temperature at twice the trained size, on the shipped small model.

    python -m benchmarks.rope [--seeds N] [--share I/N] [--quick] [--check] [--json FILE]

Repetition: correlation of a clip with itself at the training size. The clips' ground is made of waves and
repeats by nature, so the small video merely enlarged is the row to compare with. Agreement: PSNR of the
shrunk clip to the small video. Detail: variance of the Laplacian. Object: share of seeds whose decoded pixels
show the prompt's colour and shape. Every finished seed is kept in demo/work/, so a stopped run goes on where
it was. These are figures of a small model on simple clips.
"""

from __future__ import annotations

import argparse
import sys

import torch
from torch import Tensor

from benchmarks.bootstrap import mean_interval
from benchmarks.fast_host import import_fast_comfy
from benchmarks.kept_rows import KeptRows, Row, Rows, add_share_option, share_of
from benchmarks.repetition import agreement, fine_detail, repetition
from benchmarks.small_model import LowResRun, SmallModel, digest_of
from benchmarks.tables import Table, add_report_options, report, where
from demo.clips import TRAIN_SIZE
from demo.generate import decode
from demo.host import DIT_FILE, VAE_FILE, WORK
from demo.measure import held_out_cases
from demo.observe import observe
from demo.vocabulary import Prompt
from s2flow_core.resample import resize_video
from s2flow_core.rotary import ROPE_MODES

COLUMNS = ("repetition", "agreement", "detail", "object")
SEEDS, QUICK_SEEDS = 16, 1
LOW_RES_STEPS, QUICK_STEPS = 20, 4
QUICK_STEPS_LEFT = (2,)
# Early and late: the more steps run at the large size, the more the positions matter.
STEPS_LEFT = (12, 18)
WINDOWS = (None, 0.5)


def measured(clip: Tensor, small: Tensor, prompt: Prompt) -> Row:
    seen = observe(clip)
    return {
        "repetition": repetition(clip, TRAIN_SIZE),
        "agreement": agreement(clip, small),
        "detail": fine_detail(clip),
        "object": float((seen.color, seen.shape) == (prompt.color, prompt.shape)),
    }


def rows_of_seed(run: LowResRun, prompt: Prompt, steps_left: tuple[int, ...]) -> Rows:
    """Every mode, with and without temperature and windows, from the same start."""
    models = run.model.models
    small = decode(models, run.trajectory.final.float())[0]  # (T, H, W, 3)
    side = 2 * TRAIN_SIZE
    rows = {"small video, enlarged": measured(resize_video(small, (side, side)), small, prompt)}
    for left in steps_left:
        triple = run.transition(left)
        for s in WINDOWS:
            windows = None if s is None else run.windows(triple[0], s, "error", tail=True)
            for rope in ROPE_MODES:
                for warm in (False, True):
                    settings = {"rope": rope, "attention_temperature": warm, "windows": windows}
                    result = run.high_res(triple, **settings)
                    name = f"t_i {left}, {'dense' if s is None else f's {s:.0%}'}, rope {rope}"
                    rows[name + (", temperature" if warm else "")] = measured(
                        decode(models, result.latent)[0], small, prompt
                    )
    return rows


def column(seeds: list[Rows], row: str, name: str) -> Tensor:
    return torch.tensor([rows[row][name] for rows in seeds], dtype=torch.float64)


def summary(seeds: list[Rows]) -> list[Table]:
    """Means over seeds, and what every change does to the same run without it, paired by seed."""
    means = Table(
        "Positions and temperature at twice the trained size",
        ["run", *COLUMNS],
        note=f"{len(seeds)} held-out seeds, {LOW_RES_STEPS} steps, {TRAIN_SIZE}² to {2 * TRAIN_SIZE}².",
    )
    changes = Table(
        "What positions and temperature change", ["run", *(f"{name}, 95 % interval" for name in COLUMNS)]
    )
    for row in seeds[0]:
        means.add(row, *(float(column(seeds, row, name).mean()) for name in COLUMNS))
        plain = f"{row.split(', rope')[0]}, rope none"
        if row != plain and plain in seeds[0]:
            changes.add(row, *(difference(seeds, row, plain, name) for name in COLUMNS))
    return [means, changes]


def difference(seeds: list[Rows], row: str, plain: str, name: str) -> str:
    mean, low, high = mean_interval(column(seeds, row, name) - column(seeds, plain, name))
    return f"{mean:+.3f} ({low:+.3f} ... {high:+.3f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--quick", action="store_true", help="one seed, few steps")
    add_share_option(parser)
    add_report_options(parser)
    options = parser.parse_args()
    import_fast_comfy()
    if options.quick:
        options.seeds = QUICK_SEEDS
    steps, steps_left = (QUICK_STEPS, QUICK_STEPS_LEFT) if options.quick else (LOW_RES_STEPS, STEPS_LEFT)
    model = SmallModel()
    prompts = [prompt for prompt, _ in held_out_cases(options.seeds)]
    kept = KeptRows(None if options.quick else WORK / f"rope_{digest_of(DIT_FILE, VAE_FILE)}.jsonl")

    def rows_of(index: int) -> Rows:
        return rows_of_seed(model.low_res(index, steps), prompts[index], steps_left)

    with torch.inference_mode():
        kept.measure("rope", share_of(options.seeds, options), rows_of)
    tables = summary(list(kept.of("rope").values()))
    print("\n\n".join(table.text() for table in tables))
    return report([where(), *tables], [], options)


if __name__ == "__main__":
    sys.exit(main())
