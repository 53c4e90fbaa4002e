"""What windows and solver cost in the high-resolution video, on the shipped small model.

    python -m benchmarks.quality [--seeds N] [--quick] [--json FILE]

Errors are relative L2 distances in latent space: of windowed runs to the dense run with the same steps,
of solvers to dense Euler with eight times finer steps from the same start. Every finished seed is kept in
demo/work/, so a stopped run goes on where it was. These are figures of a small model on simple clips.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import torch

from benchmarks.bootstrap import mean_interval
from benchmarks.small_model import LowResRun, SmallModel, relative_errors
from benchmarks.tables import Table, write_json
from demo.host import WORK, import_comfy

SEEDS, QUICK_SEEDS = 32, 1
LOW_RES_STEPS, STEPS_LEFT = 20, 12
FINER = 8
POLICIES = ("paper", "budget", "error", "fixed")
DENSITIES = (0.25, 0.5, 0.75)
SOLVERS = [(1, "none"), *((order, source) for order in (2, 3) for source in ("low_res", "history", "blend"))]

Row = dict[str, float]


def window_rows(run: LowResRun, densities: tuple[float, ...]) -> dict[str, Row]:
    """One seed: every policy, density and tail against dense attention at the same Euler steps."""
    triple = run.transition(STEPS_LEFT)
    dense = run.high_res(triple, order=1)
    rows: dict[str, Row] = {"dense": {"seconds": dense.seconds, "density": 1.0}}
    for s in densities:
        for policy in POLICIES:
            for tail in (False, True):
                plan = run.windows(triple[0], s, policy, tail)
                result = run.high_res(triple, windows=plan, order=1, backend="torch_boxes")
                errors = relative_errors(result.latent, dense.latent)
                name = f"{policy} {s:.0%}{' tail' if tail else ''}"
                rows[name] = vars(errors) | {
                    "density": plan.density,
                    "coverage": float(plan.coverage.mean()),
                    "seconds": result.seconds,
                }
    return rows


def solver_rows(run: LowResRun) -> dict[str, Row]:
    """One seed: every order and source against a finer dense Euler run from the same start."""
    latent, sigmas, noise = run.transition(STEPS_LEFT)
    fine = torch.cat(
        [torch.linspace(float(a), float(b), FINER + 1)[:-1] for a, b in pairwise(sigmas)] + [torch.zeros(1)]
    )
    reference = run.high_res((latent, fine, noise), order=1)
    rows: dict[str, Row] = {}
    for order, source in SOLVERS:
        result = run.high_res((latent, sigmas, noise), order=order, derivative=source)
        name = "Euler" if order == 1 else f"order {order} {source}"
        rows[name] = vars(relative_errors(result.latent, reference.latent)) | {"seconds": result.seconds}
    return rows


def kept_rows(path: Path) -> dict[int, dict[str, dict[str, Row]]]:
    """Finished seeds: seed index -> table -> row name -> numbers."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {entry["index"]: entry["tables"] for entry in map(json.loads, lines)}


def run_seeds(count: int, path: Path, densities: tuple[float, ...]) -> list[dict[str, dict[str, Row]]]:
    done = kept_rows(path)
    model = SmallModel()
    for index in range(count):
        if index in done:
            continue
        run = model.low_res(index, LOW_RES_STEPS, capture_error=True)
        tables = {"windows": window_rows(run, densities), "solver": solver_rows(run)}
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"index": index, "tables": tables}) + "\n")
        done[index] = tables
        print(f"seed {index + 1} of {count} done", flush=True)
    return [done[index] for index in range(count)]


def summary(title: str, seeds: list[dict[str, Row]], columns: list[str], baseline: str, note: str) -> Table:
    """Means over seeds, and the paired difference of the whole error to one row with its interval."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for rows in seeds:
        for name, row in rows.items():
            for column, value in row.items():
                values[name][column].append(value)
    table = Table(title, ["run", *columns, f"whole minus {baseline}", "95 % interval"], note=note)
    for name, row in values.items():
        cells = [sum(row[c]) / len(row[c]) if row[c] else "" for c in columns]
        if "whole" not in row:
            table.add(name, *cells, "", "")
            continue
        difference = torch.tensor(row["whole"]) - torch.tensor(values[baseline]["whole"])
        mean, low, high = mean_interval(difference)
        table.add(name, *cells, mean, f"{low:+.4f} ... {high:+.4f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--quick", action="store_true", help="one seed and one density")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    import_comfy()
    count = QUICK_SEEDS if arguments.quick else arguments.seeds
    densities = (0.5,) if arguments.quick else DENSITIES
    path = WORK / ("quality_quick.jsonl" if arguments.quick else "quality.jsonl")
    with torch.inference_mode():
        seeds = run_seeds(count, path, densities)
    note = f"{count} held-out seeds, {STEPS_LEFT} HR steps of {LOW_RES_STEPS}, 128² to 256², CPU."
    tables = [
        summary(
            "Windows: error to dense attention at equal steps",
            [seed["windows"] for seed in seeds],
            ["density", "coverage", "whole", "low", "high", "seconds"],
            "paper 50%",
            note,
        ),
        summary(
            f"Solver: error to Euler with {FINER}x finer steps",
            [seed["solver"] for seed in seeds],
            ["whole", "low", "high", "seconds"],
            "Euler",
            note,
        ),
    ]
    print("\n\n".join(table.text() for table in tables))
    if arguments.json:
        write_json(arguments.json, tables, [])


if __name__ == "__main__":
    main()
