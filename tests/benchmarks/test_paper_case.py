"""The bars of the first picture: each one is missed alone, and a good table misses none."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.common.kept_rows import Rows
from benchmarks.quality.paper_case import DENSE, paper_case_problems
from benchmarks.quality.runs import ALL_DEFAULTS, DIRECT, ENLARGED

GOOD = {"prompt": 1.0, "single": 1.0, "waves": 1.0, "ragged": 1.02, "detail": 0.9, "LR PSNR": 26.0}
POOR = {"prompt": 0.0, "single": 0.0, "waves": 0.0, "detail": 0.9, "LR PSNR": 17.0}


def seeds(**changes: dict[str, Any]) -> list[Rows]:
    """Twenty seeds that meet every bar; changes: columns by row, of the first two seeds."""
    found = []
    for n in range(20):
        rows: Rows = {
            DENSE: dict(GOOD),
            ALL_DEFAULTS: dict(GOOD),
            DIRECT: dict(POOR),
            ENLARGED: GOOD | {"ragged": 1.04, "detail": 0.01},
        }
        for name, columns in changes.items() if n < 2 else ():
            rows[name] |= columns
        found.append(rows)
    return found


def test_a_good_table_misses_no_bar():
    assert paper_case_problems(seeds()) == []


@pytest.mark.parametrize("kind", ["prompt", "single", "waves"])
def test_two_wrong_videos_of_twenty_are_too_many(kind: str):
    (said,) = paper_case_problems(seeds(**{ALL_DEFAULTS: {kind: 0.0}}))
    assert kind in said and "90%" in said and ALL_DEFAULTS in said


def test_the_dense_run_is_not_held_to_the_waves():
    assert paper_case_problems(seeds(**{DENSE: {"waves": 0.0}})) == []
    (said,) = paper_case_problems(seeds(**{DENSE: {"single": 0.0}}))
    assert DENSE in said


def test_outlines_more_ragged_than_the_enlarged_video_are_told():
    (said,) = paper_case_problems(seeds(**{ALL_DEFAULTS: {"ragged": 1.9}}))
    assert "more ragged" in said
    without = seeds()
    for rows in without:
        del rows[ALL_DEFAULTS]["ragged"]  # no object was seen
    assert paper_case_problems(without) == []


@pytest.mark.parametrize("detail", [0.0, 9.0])
def test_too_little_and_too_much_detail_are_told(detail: float):
    rows = seeds()
    for seed in rows:
        seed[ALL_DEFAULTS]["detail"] = detail
    (said,) = paper_case_problems(rows)
    assert f"{detail:.2f} of a true video" in said


def test_a_direct_run_as_good_as_the_cascade_is_told():
    rows = seeds()
    for seed in rows:
        seed[DIRECT] |= {"prompt": 1.0, "LR PSNR": 26.0}
    (said,) = paper_case_problems(rows)
    assert "not clearly worse" in said
