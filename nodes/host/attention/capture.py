"""Records during the LR run how far every head looks, from the model's own q and k."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from threading import Lock
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ....s2flow_core.attention.errors import WindowsNotApplicable
from ....s2flow_core.attention.sequence import VideoSequence
from ....s2flow_core.attention.shared_dense import Beside
from ....s2flow_core.attention.trust import is_out_of_memory
from ....s2flow_core.files.checked_tensors import DamagedFile
from ....s2flow_core.files.run_state import RunState
from ....s2flow_core.reach.box_sums import KnownBoxes
from ....s2flow_core.reach.measure import measure_reach
from ....s2flow_core.reach.output_error import HeadSums, measure_head_sums
from ....s2flow_core.reach.record import RECORDED, RECORDED_PER_HEAD, AttentionReach
from ....s2flow_core.reach.rows import sample_query_rows
from ....s2flow_core.windows.grid import TokenGrid, Triple, choose_reach_tile
from ....s2flow_core.windows.ladder import extent_ladder
from ..families.family import ModelFamily
from .call import SelfAttentionCall
from .forward_pass import ForwardPass
from .hook import SelfAttentionHook
from .measured_heads import CaptureWatches, MeasuredHeads

log = logging.getLogger(__name__)

# The same rows in every step and layer, so that heads and steps can be compared.
ROW_SEED = 0
FEWEST_ROWS = 16
LARGEST_HALF = torch.finfo(torch.float16).max


class AttentionCapture(SelfAttentionHook):
    """Measures reach in the positive condition's rows and leaves every result as it was."""

    work = "the measurement of its reach"
    sees_calls = True

    def __init__(self, family: ModelFamily, model: Any, grid: Triple, rows: int, with_error: bool = False):
        super().__init__(family, model)
        self.with_error = with_error
        self.grid = TokenGrid(grid, choose_reach_tile(grid))
        self.knots = extent_ladder(self.grid.tiles)
        self.rows = sample_query_rows(self.grid, min(rows, self.grid.tokens), ROW_SEED)
        self.boxes = KnownBoxes()
        # Of each kind, per step: layer -> (heads, ...), the mean over slices of a video in context windows
        self.records: dict[str, list[dict[int, Tensor]]] = {
            kind: [] for kind in (RECORDED if with_error else RECORDED[:1])
        }
        self.slices: dict[int, set] = {}  # layer -> the slices that this step has recorded
        # Prompts for parts of the picture are all positive, and may run on several devices at once.
        self.recording = Lock()
        self.watches = CaptureWatches()

    def seconds_taken(self) -> tuple[float, float] | None:
        """(attention, capture) since this was last asked; None where the device has no clock."""
        return self.watches.taken()

    def serves(self, forward: ForwardPass) -> bool:
        """What it never sees it tells itself, in `begin_step`, and ends the run."""
        return False

    def begin_attention(self, q: Tensor, k: Tensor) -> Any:
        # What reads text or sound has other numbers of queries and keys, and grows with the queries alone.
        return self.watches.attention.start(q.device) if q.shape == k.shape else None

    def end_attention(self, began: Any) -> None:
        if began is not None:
            self.watches.attention.stop(began)

    def begin_step(self, step: int) -> None:
        if step == 1 and not self.records["mass"][0]:
            why = "; ".join(sorted(self.run.reasons)) or "it never reaches ComfyUI's attention function"
            raise ValueError(
                f"S²Flow cannot measure how far the attention of this {self.family.name} model looks: {why}. "
                "Set capture_rows to 0 and mute S²Flow Window Mask to go on without windows, or take out the "
                "nodes that patch or replace the model's attention."
            )
        while len(self.records["mass"]) <= step:
            for record in self.records.values():
                record.append({})
            self.slices = {}

    def attend(self, call: SelfAttentionCall) -> Tensor | None:
        if call.positive is not None and self.is_asked_for(call) and not self.may_share(call):
            self.record_alone(call, call.positive)
        return None

    def share(self, call: SelfAttentionCall, beside: Beside | None = None) -> Tensor | None:
        """The rows of every head go with it to its GPU."""
        if not self.may_share(call):
            return None
        rows, measured = call.positive, None
        if rows is not None and self.is_asked_for(call):
            measured = MeasuredHeads(call.q, rows, self.grid, self.measure, self.watches.within_attention)
            beside = measured.of_part
        began = self.begin_attention(call.q, call.k)
        out = super().share(call, beside)
        if out is not None:
            self.end_attention(began)
        if rows is not None and measured is not None:
            found = None if out is None else measured.of_layer()
            if found is None:  # memory did not suffice on one of them, or nobody shared
                self.record_alone(call, rows)
            else:
                self.keep(call, found)
        return out

    def is_asked_for(self, call: SelfAttentionCall) -> bool:
        """The first pass of a step is the one that matters: others probe the model for further guidance."""
        if not self.records["mass"] or call.frames in self.slices.get(call.layer, ()):
            return False
        if call.layout.grid != self.grid.shape:
            self.fall_back(
                f"the model is called with {call.layout.grid} tokens of a video of {self.grid.shape}, as "
                "if another pack cut it into pieces"
            )
            return False
        return True

    def record_alone(self, call: SelfAttentionCall, rows: slice) -> None:
        """On the device that computes the call."""
        began = self.watches.capture.start(call.q.device)
        try:
            self.record_within_memory(call, rows)
        except WindowsNotApplicable as reason:
            self.fall_back(str(reason))
        self.watches.capture.stop(began)

    def record_within_memory(self, call: SelfAttentionCall, rows: slice) -> None:
        """Measures with ever fewer query rows where memory does not suffice: the run goes before them."""
        while True:
            try:
                return self.record(call, rows)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            comfy.model_management.soft_empty_cache()
            if len(self.rows) <= FEWEST_ROWS:
                raise WindowsNotApplicable(
                    f"memory does not suffice to measure attention, not even with {len(self.rows)} query rows"
                )
            self.rows, self.boxes = self.rows[::2], KnownBoxes()
            log.warning(
                "S²Flow ran out of memory while it measured attention; it goes on with capture_rows %d, "
                "which makes the windows a little less exact.",
                len(self.rows),
            )

    def record(self, call: SelfAttentionCall, rows: slice) -> None:
        sequence = replace(call.sequence(self.grid), key_mask=mask_of_rows(call, rows))
        self.rows = self.rows.to(call.q.device)  # where the next layer will want them too
        self.keep(call, self.measure(call.q[rows], call.k[rows], call.v[rows], sequence))

    def measure(self, q: Tensor, k: Tensor, v: Tensor, sequence: VideoSequence) -> list[Tensor]:
        """Of (B, heads, tokens, dim) on any device and thread: tensors (heads, ...), in main memory."""
        if not self.with_error:
            return in_main_memory(measure_reach(q, k, sequence, self.rows, self.knots, self.boxes))
        sums = measure_head_sums(q, k, v, sequence, self.rows, self.knots, self.boxes)
        return in_main_memory(*vars(sums).values())

    def keep(self, call: SelfAttentionCall, measured: list[Tensor]) -> None:
        """Writes down what was measured of all heads of a layer."""
        found = vars(HeadSums(*measured).of_layer()) if self.with_error else {"mass": measured[0]}
        with self.recording:
            earlier = self.slices.setdefault(call.layer, set())
            if call.frames in earlier:  # another device was faster
                return
            for kind, record in self.records.items():
                join_mean(record[-1], call.layer, found[kind], len(earlier))
            earlier.add(call.frames)

    def state(self, done: int) -> dict[str, Tensor]:
        """What was measured in the first `done` steps, by name: (heads, ...) per kind, step, layer."""
        return {
            f"{kind}.{step}.{layer}": values
            for kind, record in self.records.items()
            for step, layers in enumerate(record[: max(done, 0)])
            for layer, values in layers.items()
        }

    def restore(self, state: RunState, prefix: str, steps: int) -> None:
        """Takes over what an earlier process measured in so many steps; prefix: of the names in `state`."""
        heads = self.family.heads(self.model)
        windows = tuple(map(len, self.knots))
        kinds = {kind: [{} for _ in range(steps)] for kind in self.records}
        for name in state.tensors:
            if name.startswith(prefix):
                kind, step, layer = named_place(name.removeprefix(prefix), kinds, steps, self.layers)
                form = (heads,) if kind in RECORDED_PER_HEAD else (heads, *windows)
                kinds[kind][step][layer] = state.tensor(name, form, (torch.float16,))
        self.records = kinds

    def reach(self) -> AttentionReach | None:
        """The record of the whole run; None, with the reason logged, if a layer never showed."""
        layers = self.family.layers(self.model)
        seen = {layer for step in self.records["mass"] for layer in step}
        if len(seen) < layers:
            self.fall_back(
                f"attention was seen in {len(seen)} of {layers} layers, so no windows can be made; another "
                "node may answer the model's attention before S²Flow sees it"
            )
            return None
        recorded = {kind: stack_layers(record, layers) for kind, record in self.records.items()}
        return AttentionReach(shape=self.grid.shape, tile=self.grid.tile, knots=self.knots, **recorded)


def named_place(name: str, kinds: Collection[str], steps: int, layers: int) -> tuple[str, int, int]:
    """kind.step.layer of a kept measurement; raises DamagedFile for a place that the run does not have."""
    kind, _, place = name.partition(".")
    step, _, layer = place.partition(".")
    if kind in kinds and step.isdecimal() and layer.isdecimal() and int(step) < steps and int(layer) < layers:
        return kind, int(step), int(layer)
    raise DamagedFile(f"there is no step and layer {name!a} in this run")


def mask_of_rows(call: SelfAttentionCall, rows: slice) -> Tensor | None:
    """The part of a call's mask that belongs to some rows of its batch; one tensor for all layers."""
    mask = call.mask
    if mask is None or mask.shape[0] != call.q.shape[0]:
        return mask
    return call.masks.once(mask, ("rows", rows.start, rows.stop), lambda: mask[rows])


def in_main_memory(*tensors: Tensor) -> list[Tensor]:
    """The same on the CPU, in one copy: every copy waits until the GPU has done all its work."""
    joined = torch.cat([x.flatten() for x in tensors]).to("cpu", torch.float32)
    parts = joined.split([x.numel() for x in tensors])
    return [part.view(x.shape) for part, x in zip(parts, tensors, strict=True)]


def join_mean(record: dict[int, Tensor], layer: int, values: Tensor, earlier: int) -> None:
    """Adds values, which are on the CPU, to the mean of as many earlier ones; kept in half precision.

    Where a layer's whole output is nearly nothing, an error in its units is huge; what half precision cannot
    hold becomes its largest number, because an infinity would make NaN of every window in between.
    """
    if earlier:
        mean = record[layer].float()
        values = mean + (values - mean) / (earlier + 1)
    record[layer] = values.clamp(max=LARGEST_HALF).half()


def stack_layers(record: list[dict[int, Tensor]], layers: int) -> Tensor:
    """Per step, layer -> (heads, ...)  becomes  (steps, layers, heads, ...).

    What a step lacks, because a cache such as EasyCache left out its model call, is taken from the last step
    that has it, or else from the first.
    """
    latest = {layer: values for step in reversed(record) for layer, values in step.items()}
    steps = []
    for step in record:
        latest = latest | step
        steps.append(torch.stack([latest[layer] for layer in range(layers)]))
    return torch.stack(steps)
