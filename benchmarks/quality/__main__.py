"""What windows, solver and t_i do to the high-resolution video, on the shipped small model.

    python -m benchmarks.quality [--seeds N] [--share I/N] [--only TABLE ...] [--quick] [--check]
        [--json FILE]

Errors are relative L2 distances in latent space, whole and in two bands, to a finer dense run from the same
start. Every finished piece is kept in demo/work/, so a stopped run goes on where it was; after a change of
what a row measures, empty its folder there. These are figures of a small model on simple clips.
"""

from __future__ import annotations

import argparse
import sys

import torch

from benchmarks.common.fast_host import import_fast_comfy
from benchmarks.common.kept_rows import KeptRows, add_share_option, share_of
from benchmarks.common.small_model import digest_of
from benchmarks.common.tables import add_report_options, report, where
from benchmarks.quality.recipes import (
    QUICK_RECIPES,
    QUICK_REFERENCE_STEPS,
    RECIPES,
    ROWS_FILE,
    SEEDS,
    rows_by_table,
    run_recipes,
)
from benchmarks.quality.runs import REFERENCE_STEPS
from benchmarks.quality.tables import problems_of, tables_of
from comfyui_runner.installation import computes_on
from demo.files import DIT_FILE, VAE_FILE, WORK

TABLES = list(dict.fromkeys(recipe.table for recipe in RECIPES))


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    add_share_option(parser)
    parser.add_argument("--only", nargs="+", metavar="TABLE", choices=TABLES, help=" | ".join(TABLES))
    parser.add_argument("--quick", action="store_true", help="one seed and fewer rows, under a minute")
    add_report_options(parser)
    options = parser.parse_args()
    import_fast_comfy()
    recipes = QUICK_RECIPES if options.quick else RECIPES
    if options.only:
        recipes = tuple(recipe for recipe in recipes if recipe.table in options.only)
    folder = WORK / f"quality{'_quick' if options.quick else ''}_{digest_of(DIT_FILE, VAE_FILE)}"
    reference_steps = QUICK_REFERENCE_STEPS if options.quick else REFERENCE_STEPS
    with torch.inference_mode():
        run_recipes(recipes, share_of(options.seeds, options), folder, reference_steps)
    measured = rows_by_table(recipes, folder)
    kept = KeptRows(folder / ROWS_FILE)
    tables = [where(computes_on(), kept), *tables_of(measured)]
    problems = problems_of(measured)
    print("\n\n".join(table.text() for table in tables))
    return report(tables, problems, options)


if __name__ == "__main__":
    sys.exit(main())
