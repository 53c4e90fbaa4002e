"""`python -m benchmarks.report`: writes the kept results into docs/results.md.

No figure in their tables is typed by hand. A table stands between `<!-- results: NAME -->` and
`<!-- end -->`; NAME is a key of TABLES. Below it stands where it comes from: file, device and date. With
--check nothing is written, and a document that differs from the results exits with 1.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENTS = (ROOT / "docs" / "results.md",)
PLACE = re.compile(r"(<!-- results: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
QUALITY_WINDOWS = "Windows: error to dense attention at the same Euler steps; total: to the finer run"


@dataclass(frozen=True)
class ShownTable:
    """One marked place. source: the results file that it is taken from; rows: makes it, as Markdown."""

    source: str
    rows: Callable[[], str]

    def text(self) -> str:
        """The table, and below it where it was measured."""
        return self.rows() + f"\n*{origin(self.source)}*\n"


def content_of(name: str) -> dict[str, Any]:
    """One results file."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def tables_in(name: str) -> dict[str, dict[str, Any]]:
    """The tables of one results file by their titles."""
    return {table["title"]: table for table in content_of(name)["tables"]}


def facts_of(name: str) -> dict[str, str]:
    """Device, versions and date of a results file; empty where it does not hold them."""
    content = content_of(name)
    if "where" in content:
        return content["where"]
    where = next((table for table in content["tables"] if table["title"] == "Where"), None)
    return {} if where is None else dict(zip(where["columns"], where["rows"][0], strict=True))


def origin(name: str) -> str:
    """A results file with its device and date, in a sentence."""
    facts, file = facts_of(name), f"`benchmarks/results/{name}.json`"
    if not facts:
        return f"{file}; device and date were not kept."
    return f"{file}: {facts['device']}, {facts['threads']} threads, torch {facts['torch']}, {facts['date']}."


def shown(cell: Any) -> str:
    """Three significant digits for numbers."""
    if not isinstance(cell, float):
        return str(cell)
    if abs(cell) >= 1e7:
        return f"{cell:.3g}".replace("e+", "e")
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
    rows = []
    for measure in content_of("small_models")["measures"]:
        unit = measure["unit"]
        digits = 2 if unit == "x" else 1
        reached, truth = (
            "" if measure[side] is None else f"{measure[side]:.{digits}f} {unit}"
            for side in ("value", "truth")
        )
        bars = (("at least", measure["least"]), ("at most", measure["most"]))
        bar = " ".join(f"{word} {value:g} {unit}" for word, value in bars if value)
        rows.append([measure["name"], reached, bar, truth])
    return markdown(["measure", "reached", "bar", "renderings"], rows)


def whole(name: str, title: str, first: str = "") -> ShownTable:
    """A whole table of a results file; `first` names its first column anew."""

    def table() -> str:
        content = tables_in(name)[title]
        columns = content["columns"]
        return columns_of(
            content, {columns[0]: first or columns[0]} | {column: column for column in columns[1:]}
        )

    return ShownTable(name, table)


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


def compiled() -> str:
    """The worst of a kernel's variants, by chip, channels and how it multiplies."""
    table = tables_in("attention_cpu")["Kernels as compiled"]
    worst: dict[tuple[str, int, str], list[float]] = {}
    for chip, channels, variant, *figures in table["rows"]:
        numbers = [figure or 0 for figure in figures]  # no inner loop was counted on AMD's chips
        kind = chip, channels, "8 bits" if variant.endswith("int8") else "16 bits"
        worst[kind] = [max(*pair) for pair in zip(worst.get(kind, numbers), numbers, strict=True)]
    head = [*table["columns"][:2], "products in", *table["columns"][3:]]
    rows = [[*kind, *figures[:3], figures[3] or ""] for kind, figures in worst.items()]
    return markdown(head, rows)


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


def quality(title: str, names: dict[str, str]) -> ShownTable:
    """One table of the quality benchmark, in those of the columns that it has: a GPU's has no CPU seconds."""

    def table() -> str:
        content = tables_in("quality")[title]
        shown = {name: head for name, head in names.items() if name in content["columns"]}
        return columns_of(content, {"run": "run"} | shown)

    return ShownTable("quality", table)


COMPARED = {"95 % interval": "95 % interval"}
# Read off decoded videos.
SHOWN = {"prompt": "prompt shown", "single": "one object", "waves": "waves as in LR", "detail": "detail"} | {
    "ragged": "ragged",
    "LR PSNR": "LR PSNR",
    "flicker": "flicker",
    "motion": "motion",
}


def paper_case(title: str) -> ShownTable:
    """The paper's case at one size."""
    cost = {"density": "density", "CPU s": "CPU s", "ragged minus LR, enlarged": "ragged minus enlarged"}
    return quality(title, SHOWN | cost | COMPARED)


TABLES: dict[str, ShownTable] = {
    "small models": ShownTable("small_models", small_models),
    "protection": whole("protection", "Cases tried", "what was tried"),
    "solver": ShownTable("solver", solver),
    "attention": ShownTable("attention_cpu", attention),
    "attention by tokens": whole("attention_cpu", "Cost against tokens, a window of 8 tiles, 1 head(s)"),
    "price of auto": whole("attention_cpu", "Price of auto, 20 kinds of call, 50 steps"),
    "known heads": whole("capture_cpu", "Output error of windows on heads of known reach, true at HR"),
    "counted capture": whole(
        "capture_cpu", "Capture with errors of 256 rows, 24 heads of 128, (30, 48, 80) tokens (counted)"
    ),
    "capture share": whole("capture_cpu", "The demo's small run of 50 steps, one thread, 5 turns"),
    "eight bits": whole("attention_cpu", "Error of windows in eight bits"),
    "compiled": ShownTable("attention_cpu", compiled),
    "preview": whole("refine", "Preview: large steps - small steps", "large - small steps"),
    "preview sizes": whole("refine", "Preview 10-30: size and positions"),
    "preview variants": whole("refine", "Preview 10-30: sigmas and noise"),
    "preview gains": whole("refine", "Preview 10-30, gains"),
    "refiner": whole("refine", "Refiner, 2x", "method"),
    "refiner gains": whole("refine", "Refiner, gains"),
    "refine steps": whole("refine", "Refine steps"),
    "refiner windows": whole("refine", "Temporal windows in the Refiner, trained without"),
    "positions": whole("rope", "Positions and temperature at twice the small video's size"),
    "position changes": whole("rope", "What they change, with 95 % intervals"),
    "pipeline": ShownTable("pipeline", pipeline),
    "attention h100": whole("attention_h100", "Attention, random, 115200 tokens, 24 heads"),
    "attention h100 large": whole("attention_h100", "Attention, random, 460800 tokens, 4 heads"),
    "attention h100 small model": whole("attention_h100", "Attention, small model, 81920 tokens, 2 heads"),
    "eight bits h100": whole("attention_h100", "Error of windows in eight bits"),
    "layers h100": whole(
        "pipeline_h100",
        "HunyuanVideo 13B: 1 layer(s) measured on NVIDIA H100 80GB HBM3, extrapolated to 60",
    ),
    "farm": whole("farm", "Simulated farm"),
    "check video": whole("video_check", "Check Video: good and spoiled runs"),
    "check video kinds": whole("video_check", "Check Video, by kind"),
    "prediction": whole("prediction", "The large run, foretold and taken: 128² to 256²"),
    "prediction larger": whole("prediction", "The large run, foretold and taken: 192² to 384²"),
    "methods": quality(
        "Methods",
        {"whole": "error", "PSNR": "PSNR"} | SHOWN | {"calls": "calls", "CPU s": "CPU s"},
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
    "left": quality("t_i, of 50 steps", SHOWN | {"CPU s": "CPU s"}),
    "paper case": paper_case("The paper's case, t_i = 30 of 50"),
    "paper case larger": paper_case("The paper's case from the largest size known, 192² to 384²"),
    "chain": quality(
        "Four times the size",
        SHOWN
        | {"density": "density", "calls": "calls", "CPU s": "CPU s"}
        | {"LR PSNR minus one jump, t_i = 12": "LR PSNR minus one jump"}
        | COMPARED,
    ),
}


def filled(text: str) -> str:
    """A document with every marked table taken from the results."""
    return PLACE.sub(lambda place: place[1] + TABLES[place[2]].text() + place[3], text)


def main(given: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if a document differs")
    options = parser.parse_args(given)
    outdated = []
    for document in DOCUMENTS:
        before = document.read_text(encoding="utf-8")
        after = filled(before)
        if after == before:
            continue
        outdated.append(document.name)
        if not options.check:
            document.write_text(after, encoding="utf-8")
    if options.check and outdated:
        print(f"differs from benchmarks/results: {', '.join(outdated)}; run python -m benchmarks.report")
    return int(options.check and bool(outdated))


if __name__ == "__main__":
    sys.exit(main())
