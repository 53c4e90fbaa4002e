"""Bowtie-flow's preview and refinement on the shipped small models.

    python -m benchmarks.refine [--previews N] [--clips N] [--share I/N] [--quick] [--check] [--json FILE]

Every finished seed is kept in demo/work/, so a stopped run goes on where it was. These are figures of small
models on simple clips; seconds are those of the processor.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch

from benchmarks.bootstrap import mean_interval
from benchmarks.fast_host import import_fast_comfy
from benchmarks.kept_rows import KeptRows, Rows, add_share_option, share_of
from benchmarks.refine_exact import exact_table
from benchmarks.refine_preview import FROM_SMALL, SPLITS, STEPS, preview_rows
from benchmarks.refine_refiner import GUIDANCE, STEP_COUNTS, WINDOWS, RefinerRuns, refiner_rows
from benchmarks.small_model import SmallModel, digest_of
from benchmarks.tables import Table, add_report_options, report, where
from demo.clips import TRAIN_SIZE
from demo.host import DIT_FILE, REFINER_FILE, VAE_FILE, WORK

PREVIEWS, CLIPS = 32, 16

Seeds = list[Rows]


def column(seeds: Seeds, row: str, name: str) -> torch.Tensor:
    return torch.tensor([rows[row][name] for rows in seeds], dtype=torch.float64)


def means(title: str, seeds: Seeds, rows: list[str], columns: list[str], note: str) -> Table:
    """Means over seeds of the rows that were measured."""
    table = Table(title, ["run", *columns], note=note)
    for row in rows:
        if row in seeds[0]:
            table.add(row, *(float(column(seeds, row, name).mean()) for name in columns))
    return table


def comparison(table: Table, seeds: Seeds, what: str, better: str, worse: str, higher: bool) -> str | None:
    """Adds the paired difference with its interval; returns what falls short."""
    sign = 1 if higher else -1
    gain = sign * (column(seeds, better, what) - column(seeds, worse, what))
    mean, low, high = mean_interval(gain)
    table.add(f"{what}: {better} over {worse}", mean, f"{low:+.4f} ... {high:+.4f}")
    if low > 0:
        return None
    return f"{better} is not better than {worse} in {what}: {mean:+.4f} ({low:+.4f} ... {high:+.4f})."


def preview_tables(seeds: Seeds) -> tuple[list[Table], list[str]]:
    note = (
        f"{len(seeds)} held-out seeds, {STEPS} steps, {TRAIN_SIZE}² to {TRAIN_SIZE // 2}². Distances to the "
        "40-0 run's object in frame heights; words: share of the prompt's words that the pixels show."
    )
    layout = ["position", "size", "motion", "layout", "words", "seconds", "attention GFLOP"]
    splits = [f"{k}-{STEPS - k}" for k in SPLITS]
    table = means("Preview: large steps - small steps", seeds, [*splits, FROM_SMALL], layout, note)
    variants = means(
        "Preview 10-30: noise and sigmas",
        seeds,
        ["10-30", "10-30 fresh noise", "10-30 snr_matched"],
        layout,
        note,
    )
    gains = Table("Preview 10-30 against the small size from the start", ["gain", "mean", "95 % interval"])
    # The bar is the layout as a whole; its three parts stand beside it.
    layout_problem = comparison(gains, seeds, "layout", "10-30", FROM_SMALL, higher=False)
    problems = [layout_problem] if layout_problem else []
    for part in ("position", "size", "motion"):
        comparison(gains, seeds, part, "10-30", FROM_SMALL, higher=False)
    if len(variants.rows) == 1:
        return [table, gains], problems
    for variant in ("10-30 snr_matched", "10-30 fresh noise"):
        comparison(gains, seeds, "layout", variant, "10-30", higher=False)
    return [table, variants, gains], problems


def refiner_tables(seeds: Seeds) -> tuple[list[Table], list[str]]:
    note = (
        f"{len(seeds)} held-out clips, {TRAIN_SIZE}² to {2 * TRAIN_SIZE}², CFG {GUIDANCE:g}. fine: the "
        "waves that the small size does not show; energy as a share of the truth's, mismatch |ln| of it. "
        "seconds: of the steps."
    )
    columns = ["PSNR", "fine energy", "fine mismatch", "fine correlation", "seconds"]
    ours = "flow_map, 10 steps"
    others = ["start (bicubic, encoded)", "flashvideo, 5 steps", "truth through the VAE"]
    methods = means("Refiner, 2x", seeds, ["bicubic", "renoise", ours, *others], columns, note)
    steps = [f"flow_map, {count} steps" for count in STEP_COUNTS]
    tables = [methods, means("Refine steps", seeds, steps, columns, note)]
    windows = means(
        "Temporal windows in the Refiner", seeds, [ours, *(f"window {w}" for w in WINDOWS)], columns, note
    )
    if len(windows.rows) > 1:
        tables.append(windows)
    gains = Table("Refiner against bicubic and renoise", ["gain", "mean", "95 % interval"])
    problems = [
        comparison(gains, seeds, what, ours, other, higher)
        for what, higher in (("PSNR", True), ("fine mismatch", False))
        for other in ("bicubic", "renoise")
    ]
    return [*tables, gains], [problem for problem in problems if problem]


def measured(options: argparse.Namespace) -> tuple[list[Table], list[str]]:
    """All tables and what falls short of the bars."""
    model = SmallModel()
    runs = RefinerRuns(model)
    exact, problems = exact_table(model)
    file = WORK / f"refine_{digest_of(DIT_FILE, VAE_FILE, REFINER_FILE)}.jsonl"
    kept = KeptRows(None if options.quick else file)
    previews, clips = (share_of(count, options) for count in (options.previews, options.clips))
    kept.measure("preview", previews, lambda index: preview_rows(model, index, options.quick))
    kept.measure("clip", clips, lambda index: refiner_rows(runs, index, options.quick))
    shown, refined = list(kept.of("preview").values()), list(kept.of("clip").values())
    tables, short = [exact], problems
    for seeds, tables_of in ((shown, preview_tables), (refined, refiner_tables)):
        if seeds:
            more, missed = tables_of(seeds)
            tables, short = [*tables, *more], [*short, *missed]
    return [*tables, where()], short


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--previews", type=int, default=PREVIEWS, help=f"seeds, default {PREVIEWS}")
    parser.add_argument("--clips", type=int, default=CLIPS, help=f"clips for the Refiner, default {CLIPS}")
    parser.add_argument("--quick", action="store_true", help="one seed and one clip, the main rows only")
    add_share_option(parser)
    add_report_options(parser)
    options = parser.parse_args()
    import_fast_comfy()
    if options.quick:
        options.previews = options.clips = 1

    started = time.perf_counter()
    with torch.inference_mode():
        tables, problems = measured(options)
    print("\n\n".join(table.text() for table in tables))
    print(f"\n{time.perf_counter() - started:.0f} s")
    return report(tables, problems, options)


if __name__ == "__main__":
    sys.exit(main())
