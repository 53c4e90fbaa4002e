"""Answers a model's self-attention with temporal windows that shift from layer to layer."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....s2flow_core.attention.call import VisitedKeys
from ....s2flow_core.attention.errors import WindowsNotApplicable
from ....s2flow_core.attention.temporal_windows import shifted_window_attention, window_of_layer
from ....s2flow_core.windows.grid import TokenGrid
from ..families.family import ModelFamily
from .call import SelfAttentionCall
from .forward_pass import ForwardPass
from .hook import SelfAttentionHook


class ShiftedWindows(SelfAttentionHook):
    """Windows of `frames` latent frames in every layer."""

    work = "temporal windows"
    sees_calls = True

    def __init__(self, family: ModelFamily, model: Any, frames: int):
        super().__init__(family, model)
        self.frames = frames

    def serves(self, forward: ForwardPass) -> bool:
        return self.frames < forward.layout.grid[0]

    def attend(self, call: SelfAttentionCall) -> Tensor | None:
        if self.frames >= call.layout.grid[0]:
            return None  # one window holds everything: the attention below is the same and perhaps faster
        visited = VisitedKeys()
        try:
            out = shifted_window_attention(
                call.q,
                call.k,
                call.v,
                call.sequence(TokenGrid(call.layout.grid, (1, 1, 1))),
                window_of_layer(call.layer, self.frames),
                stats=visited,
                sharing=self.sharing.of(call),
            )
        except WindowsNotApplicable as reason:
            self.fall_back(str(reason))
            return None
        self.run.serve(call.layer, visited)
        return out
