"""What a run costs, from the model's shape alone: floating point operations, bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.pipeline.models import ModelShape, VideoSize
from s2flow_core.attention.window_attention import attention_density
from s2flow_core.reach.measure import MOST_BY_KERNEL
from s2flow_core.windows.extents import axis_shares, candidate_extents
from s2flow_core.windows.grid import TokenGrid, choose_reach_tile, choose_tile
from s2flow_core.windows.ladder import extent_ladder

HALF = 2  # bytes of bfloat16 and float16
CAPTURE_COPIES = 2
ERROR_CHANNELS = 9  # what the record of output errors sums per row and key


@dataclass(frozen=True)
class StepCost:
    """Floating point operations of one step, a multiply-add counted as two."""

    linear: float
    self_attention: float
    cross_attention: float

    @property
    def total(self) -> float:
        return self.linear + self.self_attention + self.cross_attention


@dataclass(frozen=True)
class Windows:
    """What windowed attention visits: a share of the video's keys, and the tiles' means beside them."""

    density: float
    tail_tiles: int


def windows_for(model: ModelShape, size: VideoSize, s: float) -> Windows:
    """The windows that fit into s: in whole tiles, the mean of the paper's candidates; with the tail."""
    grid = TokenGrid(model.grid(size), choose_tile(model.grid(size)))
    candidates = candidate_extents(grid.tiles, s, axis_shares(grid))
    return Windows(attention_density(grid, candidates), grid.tile_count)


DENSE = Windows(1.0, 0)


def step_cost(model: ModelShape, size: VideoSize, windows: Windows = DENSE) -> StepCost:
    """One step, all passes. Text and sound are seen by every query and see everything."""
    n, text = model.tokens(size), model.beside(size)
    per_layer = model.layers * model.passes
    video = windows.density * n * n + n * windows.tail_tiles
    joint = 2 * n * text + text * text if model.joint_text else 0
    return StepCost(
        linear=per_layer * 2.0 * (n * model.token_weights + text * model.text_weights),
        self_attention=per_layer * 4.0 * model.inner * (video + joint),
        cross_attention=0.0 if model.joint_text else per_layer * 4.0 * model.inner * n * text,
    )


def capture_cost(model: ModelShape, size: VideoSize, rows: int) -> float:
    """Recording one step: reach and output errors of the sampled rows, positive pass only.

    Both form q·k; the errors also project the values and sum them per key tile.
    """
    n = model.tokens(size)
    scores = 2.0 * model.inner * rows * n
    errors = scores + 2.0 * n * ERROR_CHANNELS * (model.inner + model.heads * rows)
    return model.layers * (scores + errors)


@dataclass(frozen=True)
class Plan:
    """A run as the paper does it.

    steps_left: t_i, steps at the large size. s: share of the video that a query may see. skip_share: of the
    steps at the large size, whose model call is left out in the row that skips.
    """

    low: VideoSize
    high: VideoSize
    steps: int = 50
    steps_left: int = 30
    s: float = 0.5
    rows: int = 256
    skip_share: float = 0.34

    @property
    def calls_left(self) -> int:
        """Model calls at the large size where steps are skipped."""
        return self.steps_left - round(self.skip_share * self.steps_left)


SKIPPING = "S²Flow, steps skipped"


def stage_flops(
    model: ModelShape, plan: Plan, vae: tuple[float, float] | None
) -> dict[str, dict[str, float]]:
    """Way of making the video -> stage -> operations. vae: of decoding and encoding one pixel, if known."""
    low = plan.steps * step_cost(model, plan.low).total
    dense = step_cost(model, plan.high).total
    windowed = step_cost(model, plan.high, windows_for(model, plan.high, plan.s)).total
    recorded = {"low-res": low, "capture": plan.steps * capture_cost(model, plan.low, plan.rows)}
    between, last = {}, {}
    if vae:
        decode, encode = vae
        between = {"VAE between": decode * plan.low.pixels + encode * plan.high.pixels}
        last = {"VAE at the end": decode * plan.high.pixels}
    return {
        "direct": {"high-res": plan.steps * dense} | last,
        "cascade, dense": {"low-res": low} | between | {"high-res": plan.steps_left * dense} | last,
        "S²Flow": recorded | between | {"high-res": plan.steps_left * windowed} | last,
        SKIPPING: recorded | between | {"high-res": plan.calls_left * windowed} | last,
    }


def density_for(model: ModelShape, plan: Plan, speedup: float) -> float:
    """The density at which the HR stage, without skipping, needs that many times fewer operations."""
    tail = windows_for(model, plan.high, plan.s).tail_tiles
    all_seen, none = (step_cost(model, plan.high, Windows(d, tail)).total for d in (1.0, 0.0))
    wanted = plan.steps * step_cost(model, plan.high).total / speedup / plan.steps_left
    return (wanted - none) / (all_seen - none)


def layer_bytes(model: ModelShape, size: VideoSize, in_pieces: bool = False) -> float:
    """Of the tensors alive in one layer, in bf16, for one pass. in_pieces: its feed-forward is."""
    widths = model.live.in_pieces if in_pieces else model.live.whole
    return HALF * widths * model.tokens(size) * model.width


def size_that_fits(model: ModelShape, like: VideoSize, free: float, in_pieces: bool) -> VideoSize | None:
    """The largest size of that shape and length whose layer fits into so many bytes; None if none does."""
    step = 32  # pixels: what every model's cells and patches divide
    for height in range(4096 // step * step, 0, -step):
        size = VideoSize(round(height * like.width / like.height / step) * step, height, like.frames)
        if layer_bytes(model, size, in_pieces) <= free:
            return size
    return None


def memory_parts(model: ModelShape, plan: Plan) -> dict[str, float]:
    """Bytes, with where they lie and what was assumed as the key."""
    low_cells = model.channels
    for side in model.latent(plan.low):
        low_cells *= side
    tiles = TokenGrid(model.grid(plan.low), choose_reach_tile(model.grid(plan.low))).tiles
    recorded = math.prod(map(len, extent_ladder(tiles)))
    per_step = model.layers * model.heads
    return {
        "device: weights, bf16": HALF * model.parameters,
        f"device: one layer at HR, {model.live.whole:g} tensors of its width in bf16, one pass": layer_bytes(
            model, plan.high
        ),
        f"device: or its feed-forward in pieces, {model.live.in_pieces:g} tensors": layer_bytes(
            model, plan.high, in_pieces=True
        ),
        "device: capture, a piece of rows x keys in fp32": 4.0 * CAPTURE_COPIES * MOST_BY_KERNEL,
        "CPU: trajectory, estimate and noise of every step in fp16": 2.0 * HALF * plan.steps * low_cells,
        "CPU: reach and output errors of every step, layer and head in fp16": float(
            HALF * plan.steps * per_step * (3 * recorded + 2)
        ),
        "CPU: windows of every step, layer and head, 3 int64": 24.0 * plan.steps * per_step,
    }
