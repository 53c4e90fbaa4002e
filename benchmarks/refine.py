"""Bowtie-flow's preview and refinement on the shipped small models.

    python -m benchmarks.refine [--previews N] [--clips N] [--share I/N] [--quick] [--check] [--json FILE]

Every finished seed is kept in demo/work/, so a stopped run goes on where it was. These are figures of small
models on simple clips; seconds are those of the processor.
"""

from __future__ import annotations

import argparse
import math
import sys
import time

import torch

from benchmarks.bootstrap import mean_interval
from benchmarks.fast_host import import_fast_comfy
from benchmarks.kept_rows import KeptRows, Rows, add_share_option, share_of
from benchmarks.refine_exact import exact_table
from benchmarks.refine_preview import (
    PARTS,
    SCALES,
    SIZE_ROWS,
    SPLIT_ROWS,
    STEPS,
    VARIANT_ROWS,
    Preview,
    preview_rows,
)
from benchmarks.refine_refiner import (
    GUIDANCE,
    OURS,
    RENOISE_STRENGTHS,
    START,
    STEP_COUNTS,
    VAE_LIMIT,
    WINDOWS,
    RefinerRuns,
    method_rows,
    renoised,
    variant_rows,
)
from benchmarks.small_model import SmallModel, digest_of
from benchmarks.tables import Table, add_report_options, report, where
from demo.clips import TRAIN_SIZE
from demo.host import DIT_FILE, REFINER_FILE, VAE_FILE, WORK

PREVIEWS, CLIPS, VARIANT_CLIPS = 32, 32, 8

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
        f"{len(seeds)} held-out seeds, {STEPS} steps, model trained at {TRAIN_SIZE}². Distances to the "
        "object of the whole run at that size, in frame heights; words: share of the prompt's that are shown."
    )
    columns = [*PARTS, "words", "seconds", "attention GFLOP"]

    def table(title: str, previews: list[Preview]) -> Table:
        return means(title, seeds, [str(preview) for preview in previews], columns, note)

    tables = [
        table("Preview: large steps - small steps", SPLIT_ROWS),
        table("Preview 10-30: size and positions", SIZE_ROWS),
        table("Preview 10-30: sigmas and noise", VARIANT_ROWS),
    ]
    gains = Table("Preview 10-30, gains", ["gain", "mean", "95 % interval"])
    problems = []
    for scale in SCALES:
        for rope, other in (("position", "none"), ("position", "position"), ("none", "none")):
            ours, rival = Preview(scale=scale, rope=rope), Preview(0, scale, other)
            if str(ours) not in seeds[0] or str(rival) not in seeds[0]:
                continue
            missed = [
                comparison(gains, seeds, part, str(ours), str(rival), higher=False)
                for part in (*PARTS, "layout")
            ]
            # The bar is against the small size as anyone would run it.
            problems += missed if (rope, other) == ("position", "none") else []
    for variant in VARIANT_ROWS[1:]:
        if str(variant) in seeds[0]:
            comparison(gains, seeds, "layout", str(VARIANT_ROWS[0]), str(variant), higher=False)
    return [*(table for table in tables if len(table.rows) > 1), gains], [p for p in problems if p]


FINE = (
    f"{TRAIN_SIZE}² to {2 * TRAIN_SIZE}², CFG {GUIDANCE:g}. fine: the waves that the small size lacks, "
    "their energy as a share of the truth's, mismatch |ln| of it (to VAE: of the share of what the VAE "
    "leaves of the truth's), spectrum error the same frequency by frequency. seconds: of the steps."
)
REACHABLE = "fine mismatch to VAE"
FINE_COLUMNS = ["PSNR", "fine energy", "fine mismatch", "fine spectrum error", "fine correlation", "seconds"]


def refiner_tables(seeds: Seeds) -> tuple[list[Table], list[str]]:
    renoise = [renoised(strength) for strength in RENOISE_STRENGTHS]
    seeds = [with_reachable_mismatch(rows) for rows in seeds]
    rows = ["bicubic", *renoise, START, "flashvideo, 5 steps", OURS, VAE_LIMIT]
    columns = (
        FINE_COLUMNS if REACHABLE not in seeds[0][OURS] else [*FINE_COLUMNS[:3], REACHABLE, *FINE_COLUMNS[3:]]
    )
    table = means("Refiner, 2x", seeds, rows, columns, f"{len(seeds)} held-out clips, {FINE}")
    gains = Table("Refiner, gains", ["gain", "mean", "95 % interval"])
    problems = []
    for other in (row for row in rows if row in seeds[0] and row != OURS):
        for what in ("PSNR", "fine mismatch", REACHABLE, "fine spectrum error"):
            if what not in seeds[0][OURS] or (what == REACHABLE and other == VAE_LIMIT):
                continue
            problem = comparison(gains, seeds, what, OURS, other, higher=what == "PSNR")
            if problem and what in ("PSNR", "fine mismatch") and other in ("bicubic", *renoise):
                problems.append(problem)
    return [table, gains], problems


def with_reachable_mismatch(rows: Rows) -> Rows:
    """The fine energy also held against that of the truth through the VAE, which no method can pass."""
    if VAE_LIMIT not in rows:
        return rows
    limit = rows[VAE_LIMIT]["fine energy"]
    return {name: row | {REACHABLE: abs(math.log(row["fine energy"] / limit))} for name, row in rows.items()}


def refiner_variant_tables(seeds: Seeds) -> tuple[list[Table], list[str]]:
    note = f"{len(seeds)} held-out clips, {FINE}"
    steps = [f"flow_map, {count} steps" for count in STEP_COUNTS]
    windows = [OURS, *(f"window {frames}" for frames in WINDOWS)]
    return [
        means("Refine steps", seeds, steps, FINE_COLUMNS, note),
        means("Temporal windows in the Refiner, trained without", seeds, windows, FINE_COLUMNS, note),
    ], []


def measured(options: argparse.Namespace) -> tuple[list[Table], list[str]]:
    """All tables and what falls short of the bars."""
    model = SmallModel()
    runs = RefinerRuns(model)
    exact, problems = exact_table(model)
    file = WORK / f"refine_{digest_of(DIT_FILE, VAE_FILE, REFINER_FILE)}.jsonl"
    kept = KeptRows(None if options.quick else file)
    recipes = [
        (
            "previews",
            options.previews,
            lambda index: preview_rows(model, index, options.quick),
            preview_tables,
        ),
        ("refiner", options.clips, lambda index: method_rows(runs, index, options.quick), refiner_tables),
        (
            "refiner variants",
            0 if options.quick else min(VARIANT_CLIPS, options.clips),
            lambda index: variant_rows(runs, index),
            refiner_variant_tables,
        ),
    ]
    shown = [exact]
    for name, count, rows_of, tables_of in recipes:
        kept.measure(name, share_of(count, options), rows_of)
        seeds = list(kept.of(name).values())
        if seeds:
            more, missed = tables_of(seeds)
            shown, problems = [*shown, *more], [*problems, *missed]
    return [*shown, where()], problems


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
