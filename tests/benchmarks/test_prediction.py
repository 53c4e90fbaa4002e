"""What the table of foretold seconds says, and when it falls short."""

from __future__ import annotations

import pytest

from benchmarks.prediction.runs import Row
from benchmarks.prediction.tables import problems_of, table_of


def test_the_table_shows_both_and_their_ratio():
    table = table_of(128, [Row(0.25, 0.24, 9.0, 10.0), Row(1.0, 1.0, 20.0, 16.0)])
    assert table.rows == [["0.25", 0.24, 9.0, 10.0, 0.9], ["1", 1.0, 20.0, 16.0, 1.25]]


@pytest.mark.parametrize(("foretold", "short"), [(7.4, True), (7.6, False), (12.4, False), (12.6, True)])
def test_more_than_a_quarter_off_falls_short(foretold, short):
    problems = problems_of(192, [Row(0.5, 0.5, foretold, 10.0), Row(1.0, 1.0, 10.0, 10.0)])
    assert (problems != []) is short
    assert all("192² to 384², s 0.5" in problem for problem in problems)
