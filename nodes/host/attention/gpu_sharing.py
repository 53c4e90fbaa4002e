"""The GPUs that share the attention of one sampler run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ....s2flow_core.attention.shared_dense import Beside, shared_dense_attention
from ....s2flow_core.attention.sharing.head_sharing import HeadSharing
from ....s2flow_core.windows.grid import TokenGrid
from ..model.devices import helpers_of
from .call import SelfAttentionCall


@dataclass
class GpuSharing:
    """gpus: how many take part, those that run the model among them. by_device: while a run lasts, the
    helpers of each device that runs the model."""

    gpus: int = 1
    by_device: dict[torch.device, HeadSharing] = field(default_factory=dict)

    @contextmanager
    def during(self, patcher: Any) -> Iterator[None]:
        """Helpers for one run; whatever ends it, their threads end with it."""
        cancels = (comfy.model_management.InterruptProcessingException,)
        try:
            for main, devices in (helpers_of(patcher, self.gpus) if self.gpus > 1 else {}).items():
                self.by_device[main] = HeadSharing(main, devices, cancels)
            yield
        finally:
            for sharing in self.by_device.values():
                sharing.close()
            self.by_device.clear()

    def of(self, call: SelfAttentionCall) -> HeadSharing | None:
        """The helpers of the device that a call is computed on."""
        return self.by_device.get(call.q.device)

    def dense(self, call: SelfAttentionCall, beside: Beside | None = None) -> Tensor | None:
        """(B, heads, tokens, dim) of the attention below us, shared; None leaves the call to it.

        beside: what else is done with every part, on its device. Raises WindowsNotApplicable for a mask that
        differs between queries or heads.
        """
        sharing = self.of(call)
        if sharing is None or call.installed is None:
            return None
        sequence = call.sequence(TokenGrid(call.layout.grid, (1, 1, 1)))
        return shared_dense_attention((call.q, call.k, call.v), sequence, call.installed, sharing, beside)
