"""The table of what was foretold, and what is too far off."""

from __future__ import annotations

from benchmarks.common.tables import Table
from benchmarks.prediction.runs import STEPS, STEPS_LEFT, Row

MOST_OFF = 0.25
"""Of the seconds that were taken."""


def table_of(size: int, rows: list[Row]) -> Table:
    """size: side of the small video in pixels."""
    table = Table(
        f"The large run, foretold and taken: {size}² to {2 * size}²",
        ["s", "density", "foretold s", "taken s", "foretold / taken"],
    )
    for row in rows:
        table.add(f"{row.s:g}", row.density, row.foretold, row.taken, row.ratio)
    table.note = (
        f"{STEPS_LEFT} of {STEPS} steps, wall time of the whole node. Foretold from the median step of the "
        "small run: its attention times the counted pairs, the rest times the tokens."
    )
    return table


def problems_of(size: int, rows: list[Row]) -> list[str]:
    return [
        f"{size}² to {2 * size}², s {row.s:g}: {row.foretold:.3g} s foretold, {row.taken:.3g} s taken."
        for row in rows
        if abs(row.ratio - 1) > MOST_OFF
    ]
