"""What the command line shows while a prompt runs, and how long each node took."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from typing import Any, TextIO

from comfyui_runner.client import Event

SECONDS_BETWEEN_LINES = 10.0


class RunProgress:
    """Takes the events of a run one by one. titles: node id to what to call it.

    Afterwards `seconds` and `steps` hold, by node id, how long it ran and how many steps it reported.
    """

    def __init__(self, titles: dict[str, str], stream: TextIO = sys.stdout):
        self.titles = titles
        self.stream = stream
        self.seconds: dict[str, float] = defaultdict(float)
        self.steps: dict[str, int] = {}
        self.cached: set[str] = set()
        self._current: str | None = None
        self._since = 0.0
        self._printed = 0.0

    def take(self, event: Event) -> None:
        data = event.data
        if event.kind == "execution_cached":
            self.cached |= set(data["nodes"])
        elif event.kind == "executing":
            self._turn_to(data.get("node"), event.time)
        elif event.kind == "progress":
            self._step(str(data["node"]), data["value"], data["max"])
        elif event.kind.startswith("execution_") and event.kind != "execution_start":
            self._turn_to(None, event.time)

    def _turn_to(self, node: str | None, now: float) -> None:
        if self._current is not None:
            took = now - self._since
            self.seconds[self._current] += took
            if took >= 1.0 or self._current in self.steps:
                self._line(f"{self._title(self._current)}: {took:.1f} s", final=True)
        self._current, self._since, self._printed = node, now, time.monotonic()
        if node is not None:
            self._status(f"{self._title(node)} …")

    def _step(self, node: str, value: int, total: int) -> None:
        self.steps[node] = total
        text = f"{self._title(node)}: step {value} of {total}"
        if self.stream.isatty():
            self._status(text)
        elif time.monotonic() - self._printed > SECONDS_BETWEEN_LINES:
            self._line(text)
            self._printed = time.monotonic()

    def _title(self, node: str) -> str:
        return self.titles.get(node, f"node {node}")

    def _status(self, text: str) -> None:
        """A line that the next one replaces; only terminals can do that."""
        if self.stream.isatty():
            self.stream.write(f"\r\033[K  {text[:100]}")
            self.stream.flush()

    def _line(self, text: str, final: bool = False) -> None:
        start = "\r\033[K" if final and self.stream.isatty() else ""
        self.stream.write(f"{start}  {text}\n")
        self.stream.flush()


def titles_of(prompt: dict[str, Any]) -> dict[str, str]:
    return {key: node.get("_meta", {}).get("title", node["class_type"]) for key, node in prompt.items()}
