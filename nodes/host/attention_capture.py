"""Records during the LR run how far every head looks, from the model's own q and k."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...s2flow_core.grid import TokenGrid, Triple, choose_reach_tile
from ...s2flow_core.reach import AttentionReach, measure_reach, sample_query_rows
from ...s2flow_core.window_error import measure_window_error
from ...s2flow_core.windows import WindowsNotApplicable
from .attention_call import SelfAttentionCall
from .attention_hook import SelfAttentionHook
from .token_layout import ModelFamily

# The same rows in every step and layer, so that heads and steps can be compared.
ROW_SEED = 0


class AttentionCapture(SelfAttentionHook):
    """Measures reach in the positive condition's rows and leaves every result as it was."""

    def __init__(self, family: ModelFamily, model: Any, grid: Triple, rows: int, with_error: bool = False):
        super().__init__(family, model)
        self.with_error = with_error
        self.grid = TokenGrid(grid, choose_reach_tile(grid))
        self.rows = sample_query_rows(self.grid, min(rows, self.grid.tokens), ROW_SEED)
        # Per step: layer -> (heads, nT, nH, nW)
        self.steps: list[dict[int, Tensor]] = []
        self.errors: list[dict[int, Tensor]] = []

    def begin_step(self, step: int) -> None:
        if step == 1 and not self.steps[0]:
            why = "; ".join(sorted(self.run.reasons)) or "it never reaches ComfyUI's attention function"
            raise ValueError(
                f"S²Flow cannot measure how far the attention of this {self.family.name} model looks: {why}. "
                "Set capture_rows to 0 to go on without windows, or take out the nodes that patch or replace "
                "the model's attention."
            )
        while len(self.steps) <= step:
            self.steps.append({})
            self.errors.append({})

    def attend(self, call: SelfAttentionCall) -> Tensor | None:
        rows = call.positive
        # The first pass of a step is the one that matters: others probe the model for further guidance.
        if rows is not None and self.steps and call.layer not in self.steps[-1]:
            if call.layout.grid != self.grid.shape:
                self.fall_back(f"this pass has {call.layout.grid} tokens instead of {self.grid.shape}")
                return None
            try:
                self.record(call, rows)
            except WindowsNotApplicable as reason:
                self.fall_back(str(reason))
        return None

    def record(self, call: SelfAttentionCall, rows: slice) -> None:
        mask = call.mask
        if mask is not None and mask.shape[0] == call.q.shape[0]:
            mask = mask[rows]
        around = {"prefix": call.layout.prefix, "suffix": call.layout.suffix, "key_mask": mask}
        q, k, v = call.q[rows], call.k[rows], call.v[rows]
        reach = measure_reach(q, k, self.grid, self.rows, **around)
        self.steps[-1][call.layer] = reach.to("cpu", torch.float16)
        if self.with_error:
            error = measure_window_error(q, k, v, self.grid, self.rows, **around)
            self.errors[-1][call.layer] = error.to("cpu", torch.float16)

    def reach(self) -> AttentionReach | None:
        """The record of the whole run; None, with the reason logged, if a layer never showed."""
        layers = self.family.layers(self.model)
        seen = {layer for step in self.steps for layer in step}
        if len(seen) < layers:
            self.fall_back(
                f"attention was seen in {len(seen)} of {layers} layers, so no windows can be made; another "
                "node may answer the model's attention before S²Flow sees it"
            )
            return None
        mass = stack_layers(self.steps, layers)
        error = stack_layers(self.errors, layers) if self.with_error else None
        return AttentionReach(mass=mass, shape=self.grid.shape, tile=self.grid.tile, error=error)


def stack_layers(record: list[dict[int, Tensor]], layers: int) -> Tensor:
    """Per step, layer -> (heads, nT, nH, nW)  becomes  (steps, layers, heads, nT, nH, nW).

    What a step lacks, because a cache such as EasyCache left out its model call, is taken from the last step
    that has it, or else from the first.
    """
    latest = {layer: values for step in reversed(record) for layer, values in step.items()}
    steps = []
    for step in record:
        latest = latest | step
        steps.append(torch.stack([latest[layer] for layer in range(layers)]))
    return torch.stack(steps)
