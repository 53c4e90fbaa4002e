"""`--long` tries everything, without it a few cases run, and both say at the end what was tried."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import pytest

@pytest.mark.parametrize("kind", [1, 2])
def test_many(amount, kind):
    for case in amount("coins tossed", 3, 1000):
        assert case < 1000

def test_stops(amount):
    for case in amount("dice thrown", 5, 5):
        assert case < 2

@pytest.mark.long
def test_long():
    pass

def test_no_cases():
    pass
"""


@pytest.fixture
def folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder of its own with the conftest.py of these tests, which finds what it imports here."""
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{here}{os.pathsep}{here.parent}")
    (pytester.path / "tests").mkdir()
    shutil.copy(here / "conftest.py", pytester.path / "tests")
    (pytester.path / "tests" / "test_cases.py").write_text(TESTS)
    (pytester.path / "pytest.ini").write_text("[pytest]\nmarkers =\n    long: runs under --long alone\n")
    return pytester


def said(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if " tried" in line]


def test_a_few_cases_are_tried_and_said(folder: pytest.Pytester):
    result = folder.runpytest_inprocess("tests", "-n", "0")
    result.assert_outcomes(passed=3, failed=1, skipped=1)
    assert said(result) == ["coins tossed: 6 tried (--long: 2,000)", "dice thrown: 2 tried (--long: 5)"]


def test_all_cases_are_tried_in_workers_too(folder: pytest.Pytester):
    result = folder.runpytest_subprocess("tests", "-n", "2", "--long")
    result.assert_outcomes(passed=4, failed=1)
    assert said(result) == ["coins tossed: 2,000 tried", "dice thrown: 2 tried (--long: 5)"]


def test_nothing_is_said_of_no_cases(folder: pytest.Pytester):
    result = folder.runpytest_inprocess("tests", "-n", "0", "-k", "no_cases")
    result.assert_outcomes(passed=1, deselected=4)
    assert "cases =" not in result.stdout.str()


def test_what_was_tried_is_kept_with_where_it_ran(folder: pytest.Pytester):
    folder.runpytest_subprocess("tests", "-n", "0", "--keep", "cases.json")
    kept = json.loads((folder.path / "cases.json").read_text(encoding="utf-8"))
    assert kept["tables"][0]["rows"] == [["coins tossed", 6, 0], ["dice thrown", 2, 1]]
    assert {"device", "threads", "torch", "date"} <= set(kept["where"])
