"""The tables of previews and of the Refiner."""

from __future__ import annotations

import math

from benchmarks.common.intervals import mean_interval
from benchmarks.common.kept_rows import Rows, column
from benchmarks.common.tables import Table
from benchmarks.refine.preview import PARTS, SCALES, SIZE_ROWS, SPLIT_ROWS, STEPS, VARIANT_ROWS, Preview
from benchmarks.refine.refiner import (
    GUIDANCE,
    OURS,
    RENOISE_STRENGTHS,
    START,
    STEP_COUNTS,
    VAE_LIMIT,
    WINDOWS,
    renoised,
)
from demo.clips.scenes import TRAIN_SIZE

Seeds = list[Rows]


def means(title: str, seeds: Seeds, rows: list[str], columns: list[str], note: str) -> Table:
    """Means over seeds of the rows that were measured, in the columns that all of them have."""
    rows = [row for row in rows if row in seeds[0]]
    columns = [name for name in columns if all(name in seed[row] for seed in seeds for row in rows)]
    table = Table(title, ["run", *columns], note=note)
    for row in rows:
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
        f"{len(seeds)} held-out seeds, {STEPS} steps. Distances to the object of the whole run at "
        f"{TRAIN_SIZE}², in frame heights; words: share of the prompt's that are shown."
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
        for rope, other in (("none", "none"), ("position", "position"), ("position", "none")):
            ours, rival = Preview(scale=scale, rope=rope), Preview(0, scale, other)
            if str(ours) not in seeds[0] or str(rival) not in seeds[0]:
                continue
            missed = [
                comparison(gains, seeds, part, str(ours), str(rival), higher=False)
                for part in (*PARTS, "layout")
            ]
            # The bar is against the small size as anyone would run it.
            problems += missed if (rope, other) == ("none", "none") else []
    for variant in VARIANT_ROWS[1:]:
        if str(variant) in seeds[0]:
            comparison(gains, seeds, "layout", str(VARIANT_ROWS[0]), str(variant), higher=False)
    return [*(table for table in tables if len(table.rows) > 1), gains], [p for p in problems if p]


FINE = (
    f"{TRAIN_SIZE}² to {2 * TRAIN_SIZE}², CFG {GUIDANCE:g}. fine: the waves that the small size lacks or "
    "shows in part, their energy as a share of the truth's, mismatch |ln| of it (to VAE: of the share of "
    "what the VAE leaves of the truth's), spectrum error the same frequency by frequency. seconds: of the "
    "steps."
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
