"""Verdicts are counted by kind, and too few right ones fall short."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from benchmarks.video_check.runs import GOOD
from benchmarks.video_check.tables import kinds_table, one_way_each, problems_of, verdict_table
from demo.clips.spoiled import SPOILED
from s2flow_core.video_check.measures import Measures

FINE = Measures(pulse=0, flicker=0, repetition=0, seam=0, likeness=30, motion=1, detail=2)
FAULTS = {
    "flicker": {"pulse": 0.5},
    "repetition": {"repetition": 0.5},
    "seam": {"seam": 0.5},
    "drift": {"likeness": 5.0},
    "frozen": {"motion": 0.0},
    "no detail": {"detail": 1.0},
}


def found_in(faults: dict[str, str]):
    """A run whose videos have the faults given by way; all others are fine."""
    rows = {way: asdict(FINE) | FAULTS.get(faults.get(way, ""), {}) for way in (GOOD, *SPOILED)}
    return rows


RIGHT = found_in({way: fault for way, (fault, _) in SPOILED.items()})


def test_all_right_is_counted_so():
    found = [RIGHT] * 16
    assert [row[2:4] for row in kinds_table(found, "").rows] == [[16, 16]] * (len(SPOILED) + 1)
    assert [row[1:] for row in verdict_table(found).rows] == [
        [16, 0, "100%"], [16, 0, "100%"], [32, 0, "100%"],
    ]  # fmt: skip
    assert problems_of(found) == []


@pytest.mark.parametrize(("wrong", "short"), [(3, False), (4, True)])
def test_a_good_video_that_is_blamed_is_wrong(wrong, short):
    blamed = RIGHT | {GOOD: found_in({GOOD: "seam"})[GOOD]}
    found = [blamed] * wrong + [RIGHT] * (16 - wrong)
    table = kinds_table(found, "")
    assert table.rows[0] == [GOOD, "fine", 16 - wrong, 16, "seam"]
    assert bool(problems_of(found)) is short


def test_another_fault_than_its_own_is_wrong():
    rows = RIGHT | {"seamed": found_in({"seamed": "drift"})["seamed"]}
    (row,) = (row for row in kinds_table([rows], "").rows if row[0] == "seamed")
    assert row == ["seamed", "seam", 0, 1, "drift"]


def test_the_ways_take_turns():
    ways = [way for way, _ in one_way_each([RIGHT] * 16)]
    assert set(ways) == set(SPOILED) and ways[:7] == ways[7:14] == list(SPOILED)
