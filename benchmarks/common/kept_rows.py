"""Rows of finished seeds, kept in a file that grows line by line, so that a stopped benchmark goes on."""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demo.measured_on import measured_on

Row = dict[str, float]
Rows = dict[str, Row]


def today() -> str:
    """As in 2026-11-27."""
    return datetime.date.today().isoformat()


def column(seeds: Sequence[Rows], row: str, name: str) -> Tensor:
    """One number of one row over all seeds, (seeds,) float64."""
    return torch.tensor([rows[row][name] for rows in seeds], dtype=torch.float64)


class KeptRows:
    """(recipe, seed index) -> row -> numbers, in one file that several processes may add to.

    A recipe names what is measured of a seed. Other processes' rows are seen when a new object is made.
    path: None keeps the rows for this process only. device: what this process computes on, "cpu" or "cuda".
    """

    def __init__(self, path: Path | None, device: str = "cpu"):
        self.path = path
        self.device = measured_on(device)["device"]
        self.rows: dict[tuple[str, int], Rows] = {}
        self.devices: dict[str, None] = {}  # names of those that the rows were measured on, in order
        self.dates: set[str] = set()  # on which they were measured, as far as that was kept
        if path and path.is_file():
            for entry in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
                self._take(entry)

    def measure(self, recipe: str, indices: Iterable[int], rows_of: Callable[[int], Rows]) -> None:
        """Runs the seeds that are missing and keeps each as soon as it is there."""
        for index in indices:
            if (recipe, index) in self.rows:
                continue
            started = time.perf_counter()
            entry = {"recipe": recipe, "index": index, "device": self.device, "rows": rows_of(index)}
            entry["date"] = today()
            self._take(entry)
            self._keep(entry)
            print(f"{recipe}, seed {index}: {time.perf_counter() - started:.0f} s", flush=True)

    def _take(self, entry: dict[str, Any]) -> None:
        self.rows[entry["recipe"], entry["index"]] = entry["rows"]
        self.devices[entry.get("device", "a device whose name was not kept")] = None
        self.dates |= {entry["date"]} if "date" in entry else set()

    def _keep(self, entry: dict[str, Any]) -> None:
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")

    def of(self, recipe: str) -> dict[int, Rows]:
        """Everything kept of a recipe, by seed index, in order."""
        return {index: self.rows[name, index] for name, index in sorted(self.rows) if name == recipe}


def add_share_option(parser: argparse.ArgumentParser) -> None:
    """Two processes, each with its share of the seeds, are faster than one with two threads."""
    parser.add_argument("--share", default="0/1", metavar="I/N", help="every N-th seed from the I-th on")


def share_of(count: int, options: argparse.Namespace) -> range:
    """The seed indices below count that `--share` leaves."""
    try:
        first, step = (int(part) for part in options.share.split("/"))
        if not 0 <= first < step:
            raise ValueError
    except ValueError:
        raise SystemExit(f"--share {options.share}: give I/N with I from 0 to N-1, as in 0/2.") from None
    return range(first, count, step)
