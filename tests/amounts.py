"""How many cases some tests try: few by default, all of them under `--long`; both print what ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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


def ran_cases(reports: list[Any]) -> list[str]:
    """One line per kind of case: how many ran, and of how many."""
    ran: Counter[str] = Counter()
    full: Counter[str] = Counter()
    for report in reports:
        for name, value in getattr(report, "user_properties", ()):
            if name == RAN:
                what, tried, all_of_them = value
                ran[what] += tried
                full[what] += all_of_them
    return [
        f"{what}: {ran[what]:,} tried" + (f" (--long: {full[what]:,})" if ran[what] < full[what] else "")
        for what in sorted(ran)
    ]
