"""How long parts of a forward pass take on their device, without making the host wait for it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import torch


@dataclass
class Stopwatch:
    """Adds up what lies between `start` and `stop`; by device, because several compute at the same time."""

    _marks: dict[torch.device, list[tuple[Any, Any]]] = field(default_factory=dict)
    _unknown: bool = False
    _lock: Lock = field(default_factory=Lock)

    def start(self, device: torch.device) -> tuple[torch.device, Any]:
        return device, moment(device)

    def stop(self, started: tuple[torch.device, Any]) -> None:
        device, begin = started
        end = moment(device)
        with self._lock:
            self._unknown |= begin is None or end is None
            self._marks.setdefault(device, []).append((begin, end))

    def taken(self) -> float | None:
        """Seconds of the slowest device since this was last asked, after its work is done; None where a
        device has no clock."""
        with self._lock:
            marks, unknown = self._marks, self._unknown
            self._marks, self._unknown = {}, False
        if unknown:
            return None
        return max((sum(between(*pair) for pair in pairs) for pairs in marks.values()), default=0.0)


def moment(device: torch.device) -> Any:
    """Now, on the device's own clock; None where it has none."""
    if device.type == "cpu":
        return time.perf_counter()
    event = getattr(getattr(torch, device.type, None), "Event", None)
    if event is None:
        return None
    now = event(enable_timing=True)
    if device.type in ("cuda", "xpu"):
        now.record(getattr(torch, device.type).current_stream(device))
    else:
        now.record()
    return now


def between(begin: Any, end: Any) -> float:
    if isinstance(begin, float):
        return end - begin
    end.synchronize()
    return begin.elapsed_time(end) / 1000  # from milliseconds
