"""What windows, solver and t_i do to the high-resolution video, on the shipped small model.

    python -m benchmarks.quality [--seeds N] [--share I/N] [--quick] [--check] [--json FILE]

Errors are relative L2 distances in latent space, whole and in two bands, to a finer dense run from the same
start. Every finished table of a seed is kept in demo/work/, so a stopped run goes on where it was. These are
figures of a small model on simple clips. Two processes, each with its share of the seeds, are faster than one
with two threads.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.quality_runs import Rows, Seed, call_rows, left_rows, method_rows, order_rows, window_rows
from benchmarks.quality_tables import SeedTables, problems_of, tables_of
from benchmarks.small_model import SmallModel
from benchmarks.tables import where, write_json
from demo.host import WORK, import_comfy
from demo.settings import STEPS

SEEDS, DECODED_SEEDS = 32, 16


def recipes(index: int) -> dict[str, Callable[[Seed], Rows]]:
    """The tables that a seed takes part in; decoding is slow, so only the first seeds are decoded."""
    decoded = index < DECODED_SEEDS
    recipes: dict[str, Callable[[Seed], Rows]] = {
        "orders": order_rows,
        "calls": call_rows,
        "windows": window_rows,
        "methods": lambda seed: method_rows(seed, decoded),
    }
    return recipes | {"left": left_rows} if decoded else recipes


def quick_recipes(index: int) -> dict[str, Callable[[Seed], Rows]]:
    """One density and the fewest calls: shows that everything runs, and decides nothing."""
    return {
        "orders": order_rows,
        "calls": lambda seed: call_rows(seed, (6,)),
        "windows": lambda seed: window_rows(seed, (0.5,)),
    }


def kept_tables(path: Path) -> dict[int, SeedTables]:
    """What earlier runs finished: seed index -> table -> row -> numbers."""
    kept: dict[int, SeedTables] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            kept.setdefault(entry["index"], {})[entry["table"]] = entry["rows"]
    return kept


def run_seeds(
    indices: range, path: Path, recipes: Callable[[int], dict[str, Callable[[Seed], Rows]]]
) -> list[SeedTables]:
    """Runs what is missing, seed by seed, and returns the tables of these seeds."""
    kept = kept_tables(path)
    model = SmallModel()
    for index in indices:
        missing = [name for name in recipes(index) if name not in kept.get(index, {})]
        if not missing:
            continue
        started = time.perf_counter()
        seed = Seed(model.low_res(index, STEPS, capture_error=True))
        for name in missing:
            rows = recipes(index)[name](seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"index": index, "table": name, "rows": rows}) + "\n")
            kept.setdefault(index, {})[name] = rows
        print(f"seed {index} of {indices}: {time.perf_counter() - started:.0f} s", flush=True)
    return [kept[index] for index in indices]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--share", default="0/1", metavar="I/N", help="every N-th seed from the I-th on")
    parser.add_argument("--quick", action="store_true", help="one seed and fewer rows, under a minute")
    parser.add_argument("--check", action="store_true", help="exit 1 and name what falls short")
    parser.add_argument("--json", metavar="FILE", help="keep the tables")
    options = parser.parse_args()
    import_comfy()
    with torch.inference_mode():
        if options.quick:
            seeds = run_seeds(range(1), WORK / "quality_quick.jsonl", quick_recipes)
        else:
            first, step = (int(part) for part in options.share.split("/"))
            seeds = run_seeds(range(first, options.seeds, step), WORK / "quality.jsonl", recipes)
    tables = [where(), *tables_of(seeds)]
    problems = problems_of(seeds)
    print("\n\n".join(table.text() for table in tables))
    if options.json:
        write_json(options.json, tables, problems)
    for problem in problems:
        print("falls short:", problem)
    return int(options.check and bool(problems))


if __name__ == "__main__":
    sys.exit(main())
