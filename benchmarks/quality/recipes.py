"""Which runs the quality tables compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.kept_rows import KeptRows, Rows
from benchmarks.common.small_model import SmallModel
from benchmarks.quality.chain import chain_rows
from benchmarks.quality.paper_case import LARGEST_KNOWN, paper_case_rows
from benchmarks.quality.runs import (
    CALLS,
    REFERENCE_STEPS,
    Seed,
    call_rows,
    left_rows,
    method_rows,
    order_rows,
    squeezed_rows,
    window_rows,
)
from comfyui_runner.installation import computes_on
from demo.clips.scenes import TRAIN_SIZE

SEEDS, DECODED_SEEDS, LARGER_SEEDS = 32, 16, 8
ROWS_FILE = "rows.jsonl"


@dataclass(frozen=True)
class Recipe:
    """Some rows of one table, for the first `seeds` seeds. size: pixels of the small video's edge."""

    name: str
    table: str
    seeds: int
    rows: Callable[[Seed], Rows]
    size: int = TRAIN_SIZE


# What decides the defaults comes first, and decoding, which is slow, has fewer seeds.
RECIPES = (
    Recipe("few calls", "calls", SEEDS, lambda seed: call_rows(seed, CALLS[:2])),
    Recipe("windows", "windows", SEEDS, window_rows),
    Recipe("paper case", "paper case", DECODED_SEEDS, paper_case_rows),
    Recipe("methods", "methods", DECODED_SEEDS, method_rows),
    Recipe("many calls", "calls", SEEDS, lambda seed: call_rows(seed, CALLS[2:])),
    Recipe("left", "left", DECODED_SEEDS, lambda seed: left_rows(seed, "none")),
    Recipe("methods, position", "methods", DECODED_SEEDS, squeezed_rows),
    Recipe("left, position", "left", DECODED_SEEDS, lambda seed: left_rows(seed, "position")),
    Recipe("orders", "orders", SEEDS, order_rows),
    Recipe("chain", "chain", DECODED_SEEDS, chain_rows),
    Recipe("paper case, larger", "paper case, larger", LARGER_SEEDS, paper_case_rows, LARGEST_KNOWN),
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
    kept = KeptRows(folder / ROWS_FILE, computes_on())
    model = SmallModel()
    for recipe in recipes:

        def rows_of(index: int, recipe: Recipe = recipe) -> Rows:
            return recipe.rows(Seed(model, index, folder, reference_steps, recipe.size))

        kept.measure(recipe.name, [index for index in indices if index < recipe.seeds], rows_of)


def rows_by_table(recipes: tuple[Recipe, ...], folder: Path) -> dict[str, list[Rows]]:
    """Everything that was kept: table -> one Rows per seed."""
    tables: dict[str, dict[int, Rows]] = {}
    kept = KeptRows(folder / ROWS_FILE)
    for recipe in recipes:
        for index, rows in kept.of(recipe.name).items():
            tables.setdefault(recipe.table, {}).setdefault(index, {}).update(rows)
    return {table: [seeds[index] for index in sorted(seeds)] for table, seeds in tables.items()}
