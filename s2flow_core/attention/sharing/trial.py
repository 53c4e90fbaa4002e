"""Whether sharing pays: calls run alone, then shared, and the faster way stays."""

from __future__ import annotations

from .speeds import Speeds

_ALONE = 2
"""Calls of each kind that run alone: the first compiles and warms up, the last is timed."""

_SHARED = 3
"""Calls that run shared: the first warms up, the second shows how fast each device is, the last is timed."""


class Trial:
    """For calls of one kind in one run. Times are per unit of cost, because layers have other windows."""

    def __init__(self) -> None:
        self.speeds = Speeds()
        self.alone = 0.0
        self.shared = 0.0
        self._calls = 0
        self._shares: bool | None = None

    @property
    def decided(self) -> bool:
        """Whether it is over."""
        return self._shares is not None

    @property
    def learns_speeds(self) -> bool:
        """Whether the call that comes now shows how fast the devices are; the first shared one does not."""
        return self._calls > _ALONE

    @property
    def shares(self) -> bool:
        """Whether the call that comes now is shared."""
        return self._calls >= _ALONE if self._shares is None else self._shares

    def note(self, seconds: float) -> None:
        """Counts the call that was computed, and decides after the last of the trial."""
        if self.shares:
            self.shared = seconds
        else:
            self.alone = seconds
        self._calls += 1
        if self._calls == _ALONE + _SHARED:
            self._shares = self.is_faster()

    def is_faster(self) -> bool:
        """What the two timed calls say."""
        return self.shared < self.alone

    def give_up(self) -> None:
        """Sharing is not possible."""
        self._shares = False
