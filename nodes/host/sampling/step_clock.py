"""Times the steps of the small run, part by part."""

from __future__ import annotations

import time
from typing import Any

from ....s2flow_core.trajectory.step_seconds import StepSeconds, typical
from ..attention.capture import AttentionCapture


class StepClock:
    """From `begin` before a model call to `end` after it; a call that is tried again begins anew."""

    def __init__(self) -> None:
        self._steps: list[StepSeconds] = []
        self._began = 0.0

    def begin(self, capture: AttentionCapture | None) -> None:
        self._began = time.perf_counter()
        if capture is not None:
            capture.seconds_taken()  # of a call that failed

    def end(self, capture: AttentionCapture | None) -> None:
        """Once the device has done the step. Without a capture nobody sees the attention."""
        whole = time.perf_counter() - self._began
        taken = None if capture is None else capture.seconds_taken()
        if taken is not None:
            self._steps.append(StepSeconds(whole, *taken))

    def typical(self) -> StepSeconds | None:
        return typical(self._steps)

    def state(self) -> list[float]:
        """What a run that is stopped here goes on with; empty where nothing is known."""
        known = self.typical()
        return [] if known is None else list(vars(known).values())

    def restore(self, kept: Any) -> None:
        """Takes over what `state` gave; seconds that cannot be read are not worth a message."""
        try:
            self._steps = [StepSeconds(*kept)]
        except (TypeError, ValueError):
            self._steps = []
