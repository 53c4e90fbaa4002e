"""What one sampler run has met: for the log, and to say early if a hook cannot do its work."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from threading import Lock

from ....s2flow_core.attention.call import VisitedKeys

log = logging.getLogger(__name__)


@dataclass
class RunRecord:
    """reasons: why calls were left alone. visited: the keys that all calls saw. served: layers in which the
    hook did its work. passes: forward passes of the model that came by. first_sigma: of the first step in
    which it should serve every layer.

    Under core's MultiGPU CFG Split several threads write here at once.
    """

    reasons: set[str] = field(default_factory=set)
    visited: VisitedKeys = field(default_factory=VisitedKeys)
    served: set[int] = field(default_factory=set)
    passes: int = 0
    first_sigma: float | None = None
    judged: bool = False
    lock: Lock = field(default_factory=Lock, repr=False)

    def fall_back(self, reason: str) -> None:
        """Logs once per run why attention stays what it was."""
        with self.lock:
            if reason in self.reasons:
                return
            self.reasons.add(reason)
        log.warning("S²Flow leaves attention unchanged: %s", reason)

    def serve(self, layer: int, visited: VisitedKeys) -> None:
        """Counts a call in which the hook did its work, and the keys that it saw."""
        with self.lock:
            self.served.add(layer)
            self.visited.add(visited)

    def leave_dense(self, batch: int, heads: int, tokens: int) -> None:
        """Counts a call in which each of the video's tokens sees all of them."""
        with self.lock:
            self.visited.add_dense(batch, heads, tokens)

    def begin_step(self, sigma: float, work: str, layers: int) -> None:
        """Before a pass in which the hook should serve every layer."""
        with self.lock:
            if self.first_sigma is None:
                self.first_sigma = sigma
        if self.first_sigma != sigma:
            self.judge_first_step(work, layers)

    def judge_first_step(self, work: str, layers: int) -> None:
        """Says loudly, once and as soon as the first step is over, if the work is not done in every layer."""
        with self.lock:
            if self.judged or self.first_sigma is None:
                return
            self.judged = True
            served, reasons = len(self.served), sorted(self.reasons)
        if served == layers:
            return
        why = "; ".join(reasons) or (
            "another node answers the model's attention before S²Flow sees it. Try without the nodes that "
            "patch or replace attention"
        )
        log.warning(
            "S²Flow: %s reached %d of %d attention layers in the first step. The others run as if it were "
            "not connected: %s.",
            work,
            served,
            layers,
            why,
        )
