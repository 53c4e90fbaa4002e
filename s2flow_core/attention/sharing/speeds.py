"""How fast devices are, from what they have computed: unequal cards balance themselves."""

from __future__ import annotations

from collections.abc import Sequence

import torch

_LEAST_SECONDS = 1e-9


class Speeds:
    """Cost per second by device, in the unit of one kind of call."""

    def __init__(self) -> None:
        self._known: dict[torch.device, float] = {}

    def learn(self, device: torch.device, cost: float, seconds: float) -> None:
        """Counts what a device computed; the latest calls weigh most, because cards get warm."""
        now = cost / max(seconds, _LEAST_SECONDS)
        self._known[device] = (self._known.get(device, now) + now) / 2

    def of(self, devices: Sequence[torch.device]) -> list[float]:
        """What is not known yet is taken to be as fast as the mean of the others."""
        known = [self._known[device] for device in devices if device in self._known]
        mean = sum(known) / len(known) if known else 1.0
        return [self._known.get(device, mean) for device in devices]
