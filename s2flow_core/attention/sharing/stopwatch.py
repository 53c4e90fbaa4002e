"""How long a device took for what it was given."""

from __future__ import annotations

import time

import torch


class Stopwatch:
    """Starts when it is made, on the device's current stream."""

    def __init__(self, device: torch.device):
        self._device = device
        self._started = time.perf_counter()
        self._begin, self._end = (
            (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            if device.type == "cuda"
            else (None, None)
        )
        if self._begin is not None:
            self._begin.record(torch.cuda.current_stream(device))
        self._stopped = self._started

    def stop(self) -> None:
        self._stopped = time.perf_counter()
        if self._end is not None:
            self._end.record(torch.cuda.current_stream(self._device))

    def seconds(self) -> float:
        """Between start and stop; waits until the device has come there."""
        if self._begin is None or self._end is None:
            return self._stopped - self._started
        self._end.synchronize()
        return self._begin.elapsed_time(self._end) / 1e3
