"""Tables of measurements: printed for people, kept as JSON for the README and for later runs."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common.kept_rows import KeptRows
from demo.measured_on import measured_on


@dataclass
class Table:
    """Rows of one experiment; the first column names the row."""

    title: str
    columns: list[str]
    rows: list[list[Any]] = field(default_factory=list)
    note: str = ""

    def add(self, *cells: Any) -> None:
        """Append a row."""
        if len(cells) != len(self.columns):
            raise ValueError(f"'{self.title}' has {len(self.columns)} columns, the row has {len(cells)}.")
        self.rows.append(list(cells))

    def text(self) -> str:
        """Aligned plain text; numbers with three significant digits."""
        cells = [self.columns, *([_shown(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))])
            for row in cells
        ]
        lines.insert(1, "-" * len(lines[0]))
        return "\n".join([self.title, *lines, *([self.note] if self.note else [])])


def where(device: str = "cpu", kept: KeptRows | None = None) -> Table:
    """What the tables beside it were measured on, and when. kept: their rows, which other calls may have
    measured, on other devices and days."""
    facts = measured_on(device)
    if kept is not None:
        facts["device"] = ", ".join(kept.devices) or facts["device"]
        if kept.dates:
            facts["date"] = " to ".join(sorted({min(kept.dates), max(kept.dates)}))
    table = Table("Where", list(facts))
    table.add(*facts.values())
    if "cuda" not in facts["device"]:
        table.note = "No GPU was measured, so no figure here is one of a GPU's."
    return table


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """The options that `report` obeys."""
    parser.add_argument("--check", action="store_true", help="exit 1 and name what falls short")
    parser.add_argument("--json", metavar="FILE", help="keep the tables")


def report(tables: list[Table], problems: list[str], options: argparse.Namespace) -> int:
    """Keeps the tables where asked and names what falls short -> the exit status."""
    if options.json:
        write_json(options.json, tables, problems)
    for problem in problems:
        print("falls short:", problem)
    return int(options.check and bool(problems))


def write_json(path: str | Path, tables: list[Table], problems: list[str]) -> None:
    """Keep the tables and what fell short."""
    content = {"tables": [vars(table) for table in tables], "fell_short": problems}
    Path(path).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _shown(cell: Any) -> str:
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:.2e}" if 0 < abs(cell) < 1e-3 else f"{cell:.3g}"
