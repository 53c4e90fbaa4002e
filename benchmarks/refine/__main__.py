"""Bowtie-flow's preview and refinement on the shipped small models.

    python -m benchmarks.refine [--previews N] [--clips N] [--share I/N] [--quick] [--check] [--json FILE]

Every finished seed is kept in demo/work/, so a stopped run goes on where it was. These are figures of small
models on simple clips; seconds are those of the processor, and left out where a GPU computes.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch

from benchmarks.common.fast_host import import_fast_comfy
from benchmarks.common.kept_rows import KeptRows, add_share_option, share_of
from benchmarks.common.small_model import SmallModel, digest_of
from benchmarks.common.tables import Table, add_report_options, report, where
from benchmarks.refine.exact import exact_table
from benchmarks.refine.preview import preview_rows
from benchmarks.refine.refiner import RefinerRuns, method_rows, variant_rows
from benchmarks.refine.tables import preview_tables, refiner_tables, refiner_variant_tables
from comfyui_runner.installation import computes_on
from demo.files import DIT_FILE, REFINER_FILE, VAE_FILE, WORK

PREVIEWS, CLIPS, VARIANT_CLIPS = 32, 32, 8


def measured(options: argparse.Namespace) -> tuple[list[Table], list[str]]:
    """All tables and what falls short of the bars."""
    model = SmallModel()
    runs = RefinerRuns(model)
    exact, problems = exact_table(model)
    file = WORK / f"refine_{digest_of(DIT_FILE, VAE_FILE, REFINER_FILE)}.jsonl"
    kept = KeptRows(None if options.quick else file, computes_on())
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
    return [*shown, where(computes_on(), kept)], problems


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
