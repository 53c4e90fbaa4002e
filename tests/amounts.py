"""How many cases some tests try: few by default, all of them under `--long`; both print what ran."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

RAN = "cases"  # the user property in which a test's report carries its counts


@dataclass(frozen=True)
class Amount:
    """Cases of one kind. number: how many to try; iterating over it gives 0, 1, … and counts each.

    told: what they are, how many were tried, how many there are under --long.
    """

    number: int
    told: list[Any]

    def count(self) -> None:
        """One case was tried."""
        self.told[1] += 1

    def __iter__(self) -> Iterator[int]:
        for case in range(self.number):
            yield case
            self.count()


@pytest.fixture
def amount(request: pytest.FixtureRequest) -> Callable[[str, int, int], Amount]:
    """amount(what, quick, full): as many cases as this run is to try, counted for the summary."""

    def of(what: str, quick: int, full: int) -> Amount:
        told = [what, 0, full]
        # Reports travel from xdist's workers to the process that prints; other state does not.
        request.node.user_properties.append((RAN, told))
        return Amount(full if request.config.getoption("--long") else quick, told)

    return of


def skip_long(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `long` run under --long alone."""
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="runs under --long"))


@dataclass(frozen=True)
class RanCases:
    """Cases of one kind over a whole run. full: how many there are under --long."""

    what: str
    tried: int
    full: int
    failed: int

    def __str__(self) -> str:
        of_all = f" (--long: {self.full:,})" if self.tried < self.full else ""
        return f"{self.what}: {self.tried:,} tried{of_all}"


def ran_cases(reports: list[Any]) -> list[RanCases]:
    """What ran, by kind; reports: of all tests' calls."""
    ran: Counter[str] = Counter()
    full: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for report in reports:
        for name, value in getattr(report, "user_properties", ()):
            if name == RAN:
                what, tried, all_of_them = value
                ran[what] += tried
                full[what] += all_of_them
                failed[what] += report.failed
    return [RanCases(what, ran[what], full[what], failed[what]) for what in sorted(ran)]


def keep_cases(cases: list[RanCases], path: Path) -> None:
    """Writes a results file as the benchmarks do, for `python -m benchmarks.report`."""
    from demo.measured_on import measured_on

    table = {
        "title": "Cases tried",
        "columns": ["what", "tried", "tests that failed"],
        "rows": [[case.what, case.tried, case.failed] for case in cases],
        "note": "",
    }
    path.write_text(
        json.dumps({"where": measured_on(), "tables": [table]}, indent=1) + "\n", encoding="utf-8"
    )
