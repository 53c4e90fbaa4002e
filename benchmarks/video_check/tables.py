"""How often the verdict is right, by kind."""

from __future__ import annotations

from typing import Any, cast

from benchmarks.common.kept_rows import Row, Rows
from benchmarks.common.tables import Table
from benchmarks.video_check.runs import GOOD
from demo.clips.spoiled import SPOILED
from s2flow_core.video_check.measures import Measures
from s2flow_core.video_check.verdict import faults_of

LEAST_RIGHT = 0.9


def names_of(row: Row) -> list[str]:
    """The faults that are found in what was measured."""
    return [fault.name for fault in faults_of(Measures(**cast(Any, row)))]


def is_right(way: str, row: Row) -> bool:
    """Whether a good video is fine, or a spoiled one told by its own fault."""
    return not names_of(row) if way == GOOD else SPOILED[way][0] in names_of(row)


def kinds_table(found: list[Rows], recipe: str) -> Table:
    """Every run spoiled in every way. found: one entry per run."""
    table = Table("Check Video, by kind", ["video", "fault", "right", "of", "also said"])
    for way in (GOOD, *SPOILED):
        wanted = "fine" if way == GOOD else SPOILED[way][0]
        right = sum(is_right(way, rows[way]) for rows in found)
        others = sorted({name for rows in found for name in names_of(rows[way]) if name != wanted})
        table.add(way, wanted, right, len(found), ", ".join(others) or "nothing")
    table.note = (
        f"Runs of the demo ({recipe}), held-out prompts and seeds; each good one spoiled in each way."
    )
    return table


def one_way_each(found: list[Rows]) -> list[tuple[str, Row]]:
    """As many spoiled runs as good ones: the ways take turns."""
    ways = list(SPOILED)
    return [(ways[n % len(ways)], rows[ways[n % len(ways)]]) for n, rows in enumerate(found)]


def verdict_table(found: list[Rows]) -> Table:
    """As many spoiled videos as good ones."""
    table = Table("Check Video: good and spoiled runs", ["videos", "right", "wrong", "share right"])
    good = sum(is_right(GOOD, rows[GOOD]) for rows in found)
    spoiled = sum(is_right(way, row) for way, row in one_way_each(found))
    count = len(found)
    for name, right, of in (
        ("good", good, count),
        ("spoiled", spoiled, count),
        ("all", good + spoiled, 2 * count),
    ):
        table.add(name, right, of - right, f"{right / of:.0%}")
    return table


def problems_of(found: list[Rows]) -> list[str]:
    right = sum(is_right(GOOD, rows[GOOD]) for rows in found)
    right += sum(is_right(way, row) for way, row in one_way_each(found))
    share = right / (2 * len(found))
    return [] if share >= LEAST_RIGHT else [f"{share:.0%} of the verdicts are right, not {LEAST_RIGHT:.0%}."]
