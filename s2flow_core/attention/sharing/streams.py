"""In which order the main device and a helper read, copy, compute and write.

Untested on CUDA: no machine with two GPUs was at hand.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from ..probe import finish


class InOrder:
    """Devices whose work is waited for before another one reads it."""

    def __init__(self, main: torch.device, device: torch.device):
        self.main, self.device = main, device

    def mark_ready(self) -> None:
        """On the main thread: what it has given to its device so far is what the helper reads."""
        finish(self.main)

    def wait_ready(self) -> None:
        """On the helper's thread: waits for that."""

    def bringing(self) -> AbstractContextManager[None]:
        """While a piece is packed and sent to the helper."""
        return nullcontext()

    def computing(self) -> AbstractContextManager[None]:
        return nullcontext()

    @contextmanager
    def returning(self) -> Generator[None]:
        """While a result is sent to the main device and written."""
        finish(self.device)
        yield

    def lend(self, *tensors: Tensor) -> None:
        """Tensors of the helper that the next stage reads: their memory is not given away before."""

    def finish(self) -> None:
        """Waits until nothing reads or writes any more."""
        finish(self.device)


class SideStreams(InOrder):
    """CUDA: a piece travels while the one before it is computed.

    A copy between two GPUs runs on the current stream of the one that is read, and waits for that of the
    other. So every direction has a stream on each of them.
    """

    def __init__(self, main: torch.device, device: torch.device):
        super().__init__(main, device)
        self._read, self._write = torch.cuda.Stream(main), torch.cuda.Stream(main)
        self._arrive, self._compute, self._leave = (torch.cuda.Stream(device) for _ in range(3))
        self._ready = torch.cuda.Event()

    def mark_ready(self) -> None:
        self._ready.record(torch.cuda.current_stream(self.main))

    def wait_ready(self) -> None:
        # On the host, so that what is timed after it is this helper's work alone.
        self._ready.synchronize()

    @contextmanager
    def bringing(self) -> Generator[None]:
        with torch.cuda.stream(self._read), torch.cuda.stream(self._arrive):
            yield

    @contextmanager
    def computing(self) -> Generator[None]:
        self._compute.wait_stream(self._arrive)
        with torch.cuda.device(self.device), torch.cuda.stream(self._compute):
            yield

    @contextmanager
    def returning(self) -> Generator[None]:
        self._leave.wait_stream(self._compute)
        with torch.cuda.stream(self._write), torch.cuda.stream(self._leave):
            yield

    def lend(self, *tensors: Tensor) -> None:
        for tensor in tensors:
            for stream in (self._compute, self._leave):
                tensor.record_stream(stream)

    def finish(self) -> None:
        for stream in (self._read, self._arrive, self._compute, self._leave, self._write):
            stream.synchronize()


def streams_between(main: torch.device, device: torch.device) -> InOrder:
    return SideStreams(main, device) if main.type == device.type == "cuda" else InOrder(main, device)
