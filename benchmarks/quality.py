"""What windows, solver and t_i do to the high-resolution video, on the shipped small model.

    python -m benchmarks.quality [--seeds N] [--share I/N] [--quick] [--check] [--json FILE]

Errors are relative L2 distances in latent space, whole and in two bands, to a finer dense run from the same
start. Every finished piece is kept in demo/work/, so a stopped run goes on where it was; after a change of
what a row measures, empty its folder there. These are figures of a small model on simple clips.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.fast_host import import_fast_comfy
from benchmarks.kept_rows import KeptRows, Rows, add_share_option, share_of
from benchmarks.quality_runs import (
    CALLS,
    REFERENCE_STEPS,
    Seed,
    call_rows,
    default_rows,
    left_rows,
    method_rows,
    order_rows,
    window_rows,
)
from benchmarks.quality_tables import problems_of, tables_of
from benchmarks.small_model import SmallModel, digest_of
from benchmarks.tables import add_report_options, report, where
from demo.host import DIT_FILE, VAE_FILE, WORK

SEEDS, DECODED_SEEDS = 32, 16
ROWS_FILE = "rows.jsonl"


@dataclass(frozen=True)
class Recipe:
    """Some rows of one table, for the first `seeds` seeds."""

    name: str
    table: str
    seeds: int
    rows: Callable[[Seed], Rows]


# What decides the defaults comes first, and decoding, which is slow, has fewer seeds.
RECIPES = (
    Recipe("few calls", "calls", SEEDS, lambda seed: call_rows(seed, CALLS[:2])),
    Recipe("windows", "windows", SEEDS, window_rows),
    Recipe("methods", "methods", DECODED_SEEDS, method_rows),
    Recipe("many calls", "calls", SEEDS, lambda seed: call_rows(seed, CALLS[2:])),
    Recipe("left", "left", DECODED_SEEDS, lambda seed: left_rows(seed, "none")),
    Recipe("methods, default", "methods", DECODED_SEEDS, default_rows),
    Recipe("left, position", "left", DECODED_SEEDS, lambda seed: left_rows(seed, "position")),
    Recipe("orders", "orders", SEEDS, order_rows),
)
# Shows that everything runs, and decides nothing.
QUICK_RECIPES = (
    Recipe("few calls", "calls", 1, lambda seed: call_rows(seed, CALLS[:1])),
    Recipe("windows", "windows", 1, lambda seed: window_rows(seed, (0.5,))),
)
QUICK_REFERENCE_STEPS = 20


def run_recipes(
    recipes: tuple[Recipe, ...], indices: range, folder: Path, reference_steps: int = REFERENCE_STEPS
) -> None:
    """Runs what is missing, recipe by recipe."""
    kept = KeptRows(folder / ROWS_FILE)
    model = SmallModel()
    for recipe in recipes:

        def rows_of(index: int, recipe: Recipe = recipe) -> Rows:
            return recipe.rows(Seed(model, index, folder, reference_steps))

        kept.measure(recipe.name, [index for index in indices if index < recipe.seeds], rows_of)


def rows_by_table(recipes: tuple[Recipe, ...], folder: Path) -> dict[str, list[Rows]]:
    """Everything that was kept: table -> one Rows per seed."""
    tables: dict[str, dict[int, Rows]] = {}
    kept = KeptRows(folder / ROWS_FILE)
    for recipe in recipes:
        for index, rows in kept.of(recipe.name).items():
            tables.setdefault(recipe.table, {}).setdefault(index, {}).update(rows)
    return {table: [seeds[index] for index in sorted(seeds)] for table, seeds in tables.items()}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    add_share_option(parser)
    parser.add_argument("--quick", action="store_true", help="one seed and fewer rows, under a minute")
    add_report_options(parser)
    options = parser.parse_args()
    import_fast_comfy()
    recipes = QUICK_RECIPES if options.quick else RECIPES
    folder = WORK / f"quality{'_quick' if options.quick else ''}_{digest_of(DIT_FILE, VAE_FILE)}"
    reference_steps = QUICK_REFERENCE_STEPS if options.quick else REFERENCE_STEPS
    with torch.inference_mode():
        run_recipes(recipes, share_of(options.seeds, options), folder, reference_steps)
    measured = rows_by_table(recipes, folder)
    tables = [where(), *tables_of(measured)]
    problems = problems_of(measured)
    print("\n\n".join(table.text() for table in tables))
    return report(tables, problems, options)


if __name__ == "__main__":
    sys.exit(main())
