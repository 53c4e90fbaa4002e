"""The reach of the heads of one attention call, measured where the heads are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ....s2flow_core.attention.call import AttentionCall, head_runs
from ....s2flow_core.attention.sequence import VideoSequence
from ....s2flow_core.attention.trust import is_out_of_memory
from ....s2flow_core.windows.grid import TokenGrid
from .stopwatch import Stopwatch

Measure = Callable[[Tensor, Tensor, Tensor, VideoSequence], list[Tensor]]
"""Of q, k, v (B, heads, tokens, dim): tensors (heads, ...) in main memory."""


@dataclass
class CaptureWatches:
    """attention, capture: one after the other. within_attention: the part of the capture that was timed with
    the attention, because both were done head by head."""

    attention: Stopwatch = field(default_factory=Stopwatch)
    capture: Stopwatch = field(default_factory=Stopwatch)
    within_attention: Stopwatch = field(default_factory=Stopwatch)

    def taken(self) -> tuple[float, float] | None:
        """Seconds of (attention, capture) since this was last asked; None where the device has no clock."""
        attention, capture = self.attention.taken(), self.capture.taken()
        within = self.within_attention.taken()
        if attention is None or capture is None or within is None:
            return None
        return max(attention - within, 0.0), capture + within


@dataclass
class MeasuredHeads:
    """What several devices measure of one call; q: all its heads, on the device that computes the call.

    rows: of the batch that are measured. grid: the video's tokens and tiles of reach. watch: times what the
    device of the call measures itself.
    """

    q: Tensor
    rows: slice
    grid: TokenGrid
    measure: Measure
    watch: Stopwatch
    _found: dict[int, list[Tensor]] = field(default_factory=dict, init=False)  # by head
    _short_of_memory: bool = field(default=False, init=False)

    def of_part(self, part: AttentionCall, numbers: Sequence[int]) -> None:
        """Measures the heads of a part; numbers: which heads of the call those of the part are."""
        own = part.q is self.q
        began = self.watch.start(part.q.device) if own else None
        for heads in head_runs(part.heads):
            q, k, v = (x[self.rows, heads] for x in (part.q, part.k, part.v))
            try:
                found = self.measure(q, k, v, self.sequence(part))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._short_of_memory = True  # the attention itself may still fit
                return
            for place, head in enumerate(range(heads.start, heads.stop)):
                self._found[numbers[head]] = [values[place : place + 1] for values in found]
        if began is not None:
            self.watch.stop(began)

    def of_layer(self) -> list[Tensor] | None:
        """(heads, ...) per kind; None where memory did not suffice on one of the devices."""
        if self._short_of_memory:
            return None
        by_head = [self._found[head] for head in range(self.q.shape[1])]
        return [torch.cat(values) for values in zip(*by_head, strict=True)]

    def sequence(self, part: AttentionCall) -> VideoSequence:
        """The tokens of the measured rows; their mask is made once per device."""
        bias, rows = part.key_bias, self.rows
        if bias is not None:
            whole = bias
            bias = part.masks.once(whole, ("rows", rows.start, rows.stop), lambda: whole[rows])
        return VideoSequence(self.grid, part.prefix, part.suffix, bias, part.scale, part.masks)
