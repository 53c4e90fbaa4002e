"""`python -m benchmarks.report`: writes the kept results into the README; no figure there is typed by hand.

A table stands between `<!-- results: NAME -->` and `<!-- end -->`; NAME is a key of TABLES. With --check
nothing is written, and a README that differs from the results exits with 1.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PLACE = re.compile(r"(<!-- results: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
QUALITY_WINDOWS = "Windows: error to dense attention at the same Euler steps; total: to the finer run"


def tables_in(name: str) -> dict[str, dict[str, Any]]:
    """The tables of one results file by their titles."""
    content = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return {table["title"]: table for table in content["tables"]}


def shown(cell: Any) -> str:
    """Three significant digits for numbers."""
    if not isinstance(cell, float):
        return str(cell)
    if cell == int(cell) or abs(cell) >= 100:
        return f"{cell:.0f}"
    text = f"{cell:#.3g}" if abs(cell) >= 1e-3 else f"{cell:.1e}"
    return text.replace("0.", ".", 1) if 1e-3 <= abs(cell) < 1 else text


def markdown(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *([shown(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def columns_of(table: dict[str, Any], names: dict[str, str], rows: list[str] | None = None) -> str:
    """Some columns (name in the results -> heading), of all rows or of those named by their first cell."""
    places = [table["columns"].index(name) for name in names]
    kept = [row for row in table["rows"] if rows is None or row[0] in rows]
    note = f"\n{table['note']}\n" if table["note"] else ""
    return markdown(list(names.values()), [[row[place] for place in places] for row in kept]) + note


def small_models() -> str:
    content = json.loads((RESULTS / "small_models.json").read_text(encoding="utf-8"))
    rows = [
        [
            measure["name"],
            f"{measure['value']:.1f} {measure['unit']}",
            f"{measure['least'] or 'at most ' + str(measure['most'])} {measure['unit']}",
        ]
        for measure in content["measures"]
        if measure["least"] or measure.get("most")
    ]
    return markdown(["measure", "reached", "at least"], rows)


def whole(name: str, title: str, first: str = "") -> Callable[[], str]:
    """A whole table of a results file; `first` names its first column anew."""

    def table() -> str:
        content = tables_in(name)[title]
        columns = content["columns"]
        return columns_of(
            content, {columns[0]: first or columns[0]} | {column: column for column in columns[1:]}
        )

    return table


def solver() -> str:
    table = tables_in("solver")["After the transition from half size: equal HR model calls"]
    names = {"method": "method"} | {f"s5 N={calls}": f"{calls} calls" for calls in (6, 10, 15, 30)}
    rows = ["Euler", "order 2 low_res", "order 2 history", "order 3 history", "order 3 blend", "dpmpp_2m"]
    return columns_of(table | {"note": ""}, names, rows)


def attention() -> str:
    table = tables_in("attention_cpu")["Attention, random, 16384 tokens, 2 heads"] | {"note": ""}
    names = {
        "backend": "backend",
        "s": "s",
        "ms": "ms",
        "x fastest dense": "× dense",
        "x ideal": "× ideal (1/s)",
    }
    return columns_of(table, names)


def pipeline() -> str:
    """What each way costs as a whole, and the notes that say what was assumed."""
    tables = tables_in("pipeline")
    step, run = (next(t for title, t in tables.items() if what in title) for what in ("step", "whole run"))
    cells = {row[0]: row[1:] for row in run["rows"]}
    rows = []
    for name, (all_peta, seconds, _) in cells.items():
        way, _, stage = name.partition(": ")
        if stage.startswith("all, "):
            high = cells[f"{way}: high-res"][0]
            faster = cells["direct: high-res"][0] / high
            whole = float(stage.removeprefix("all, ").removesuffix("x direct"))
            rows.append([way, high, faster, all_peta, whole, seconds / 60])
    head = ["way", "PFLOP, HR stage", "× direct", "PFLOP, all", "× direct", f"minutes{run['columns'][2][1:]}"]
    return markdown(head, rows) + f"\n{step['note']} {run['note']}\n".replace("\nHR", " HR")


def quality(title: str, names: dict[str, str]) -> Callable[[], str]:
    """One table of the quality benchmark."""
    return lambda: columns_of(tables_in("quality")[title], {"run": "run"} | names)


COMPARED = {"95 % interval": "95 % interval"}
TABLES: dict[str, Callable[[], str]] = {
    "small models": small_models,
    "solver": solver,
    "attention": attention,
    "preview": whole("refine", "Preview: large steps - small steps", "large - small steps"),
    "preview sizes": whole("refine", "Preview 10-30: size and positions"),
    "preview variants": whole("refine", "Preview 10-30: sigmas and noise"),
    "preview gains": whole("refine", "Preview 10-30, gains"),
    "refiner": whole("refine", "Refiner, 2x", "method"),
    "refiner gains": whole("refine", "Refiner, gains"),
    "refine steps": whole("refine", "Refine steps"),
    "refiner windows": whole("refine", "Temporal windows in the Refiner, trained without"),
    "positions": whole("rope", "Positions and temperature at twice the trained size"),
    "position changes": whole("rope", "What they change, with 95 % intervals"),
    "pipeline": pipeline,
    "methods": quality(
        "Methods",
        {
            "whole": "error",
            "PSNR": "PSNR",
            "prompt": "prompt shown",
            "single": "one object",
            "detail": "detail",
        }
        | {
            "LR PSNR": "LR PSNR",
            "flicker": "flicker",
            "motion": "motion",
            "calls": "calls",
            "CPU s": "CPU s",
        },
    ),
    "windows": quality(
        QUALITY_WINDOWS,
        {"density": "density", "coverage": "coverage", "whole": "error", "low": "low", "high": "high"}
        | {"CPU s": "CPU s", "whole minus paper 50%": "minus paper 50%"}
        | COMPARED,
    ),
    "orders": quality(
        "Solver at 10 calls",
        {"whole": "error", "low": "low", "high": "high", "whole minus Euler": "minus Euler"} | COMPARED,
    ),
    "calls": quality("Solver by model calls", {"whole": "error", "low": "low", "high": "high"}),
    "left": quality(
        "t_i, of 50 steps",
        {"prompt": "prompt shown", "single": "one object", "detail": "detail", "LR PSNR": "LR PSNR"}
        | {"flicker": "flicker", "motion": "motion", "CPU s": "CPU s"},
    ),
}


def filled(text: str) -> str:
    """The README with every marked table taken from the results."""
    return PLACE.sub(lambda place: place[1] + TABLES[place[2]]() + place[3], text)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if the README differs")
    options = parser.parse_args()
    readme = ROOT / "README.md"
    before = readme.read_text(encoding="utf-8")
    after = filled(before)
    if options.check:
        return int(after != before)
    readme.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
