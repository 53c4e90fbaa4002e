"""Tables as they come: shown and kept at once, so that a later part that fails loses none of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.common.tables import Table, write_json
from s2flow_core.attention.trust import first_line


@dataclass
class Results:
    """Everything measured so far, and a sentence for everything that falls short.

    file: where it is kept. only: words, one of which is in the name of each wanted part; all parts if there
    are none. seconds: no part begins later than this.
    """

    file: str | Path | None = None
    only: tuple[str, ...] = ()
    seconds: float | None = None
    tables: list[Table] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)
    parts: list[str] = field(default_factory=list)  # the names of all that could be measured

    def add(self, table: Table, problems: list[str] | None = None) -> None:
        """A table that is finished."""
        print(table.text(), end="\n\n", flush=True)
        self.tables.append(table)
        self.problems += problems or []
        self.keep()

    def measure(self, part: str, make: Callable[[], None]) -> None:
        """A part that adds its own tables; where it fails, that becomes a sentence, and the next follows."""
        self.parts.append(part)
        if self.only and not any(word in part for word in self.only):
            return
        start = time.perf_counter()
        if self.seconds is not None and start - self.started > self.seconds:
            self.tell(f"{part} was left out: {self.seconds:g} s were over.")
            return
        try:
            make()
        except Exception as error:  # a kernel fails in any way
            self.tell(f"{part} could not be measured: {type(error).__name__}: {first_line(error)}")
        print(f"[{part}: {time.perf_counter() - start:.1f} s]", end="\n\n", flush=True)

    def tell_of_unknown_words(self) -> None:
        """Words of `only` that no part's name holds."""
        for word in self.only:
            if not any(word in part for part in self.parts):
                self.tell(f"No part is named {word}; there are: {', '.join(self.parts)}.")

    def tell(self, problem: str) -> None:
        """One more thing that falls short."""
        print(problem, end="\n\n", flush=True)
        self.problems.append(problem)
        self.keep()

    def keep(self) -> None:
        """Writes everything so far."""
        if self.file is not None:
            write_json(self.file, self.tables, self.problems)
