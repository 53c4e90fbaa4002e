"""Layers of a model's true width with random weights, timed on the device at hand and extrapolated openly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import gelu, scaled_dot_product_attention

from benchmarks.common.exact_attention import Inputs, exact_rows, relative_error
from benchmarks.common.timing import median_seconds
from benchmarks.pipeline.cost import Plan
from benchmarks.pipeline.models import ModelShape, VideoSize
from s2flow_core.attention.errors import BackendRefused
from s2flow_core.attention.registry import BACKENDS
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.attention.window_attention import HeadWindows, attention_density, window_attention
from s2flow_core.reach.box_sums import KnownBoxes
from s2flow_core.reach.output_error import measure_head_sums
from s2flow_core.reach.rows import sample_query_rows
from s2flow_core.windows.extents import axis_shares, candidate_extents
from s2flow_core.windows.grid import TokenGrid, choose_reach_tile, choose_tile
from s2flow_core.windows.ladder import extent_ladder

# Largest relative difference of windowed attention to its definition, checked before any timing.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
CHECKED_ROWS = 64
CHECKED = {"cuda": ("triton_windows", "torch_boxes")}
"""By device, where only the first that runs is checked, which `auto` takes too; boxes would take minutes."""


class Layer:
    """One layer's matrix products and attention on random numbers.

    The products have the sizes of `token_weights`: a square one for attention's output, and the rest in
    and out of the feed-forward.
    """

    def __init__(self, model: ModelShape, size: VideoSize, device: str, dtype: torch.dtype, depth: int):
        self.depth = depth
        self.grid = TokenGrid(model.grid(size), choose_tile(model.grid(size)))
        self.reach_grid = TokenGrid(self.grid.shape, choose_reach_tile(self.grid.shape))
        self.asked, self.boxes = torch.empty(0, dtype=torch.int64), KnownBoxes()  # made by the first capture
        self.text = model.beside(size) if model.joint_text else 0
        tokens = self.grid.tokens + self.text
        made = {"device": device, "dtype": dtype}
        inner = (model.token_weights // model.width) // 2
        self.into = [torch.randn(model.width, inner, **made) / model.width**0.5 for _ in range(depth)]
        self.back = [torch.randn(inner, model.width, **made) / inner**0.5 for _ in range(depth)]
        self.x = torch.randn(tokens, model.width, **made)
        shape = (model.heads, model.inner // model.heads)
        self.q, self.k, self.v = (
            torch.randn(1, tokens, *shape, **made).transpose(1, 2) for _ in range(3)
        )  # (1, heads, tokens, dim), token-major in memory as in the models
        described = 0 if model.joint_text else model.text_tokens
        self.text_k, self.text_v = (
            torch.randn(1, described, *shape, **made).transpose(1, 2) for _ in range(2)
        )  # (1, heads, text tokens, dim)

    def linear(self) -> Tensor:
        """Matrix products, and cross-attention where the model has it."""
        x = self.x
        for into, back in zip(self.into, self.back, strict=True):
            x = gelu(x @ into) @ back
            if self.text_k.shape[2]:
                scaled_dot_product_attention(self.q, self.text_k, self.text_v)
        return x

    def dense(self) -> Tensor:
        for _ in range(self.depth - 1):
            scaled_dot_product_attention(self.q, self.k, self.v)
        return scaled_dot_product_attention(self.q, self.k, self.v)

    def windowed(self, extents: Tensor) -> Tensor:
        for _ in range(self.depth - 1):
            self._windowed(extents)
        return self._windowed(extents)

    def _windowed(self, extents: Tensor) -> Tensor:
        return window_attention(
            self.q,
            self.k,
            self.v,
            VideoSequence(self.grid, suffix=self.text),
            HeadWindows(extents, tail=True),
        )

    def dense_with_capture(self, rows: int) -> None:
        """Dense calls, each followed by what the Low-Res Sampler records: reach and output errors.

        A GPU is given those launches while it still attends.
        """
        for _ in range(self.depth):
            scaled_dot_product_attention(self.q, self.k, self.v)
            self._capture(rows)

    def _capture(self, rows: int) -> None:
        asked, grid, sequence = self.asked, self.reach_grid, VideoSequence(self.reach_grid, suffix=self.text)
        if len(asked) != min(rows, grid.tokens):
            asked = self.asked = sample_query_rows(grid, rows, seed=0).to(self.q.device)
            self.boxes = KnownBoxes()
        knots = extent_ladder(grid.tiles)
        measure_head_sums(self.q, self.k, self.v, sequence, asked, knots, self.boxes).of_layer()

    def extents(self, density: float) -> Tensor:
        """(heads, 3): the paper's candidates in turn, as heads of a real model differ."""
        candidates = candidate_extents(self.grid.tiles, density, axis_shares(self.grid))
        return candidates[torch.arange(self.q.shape[1]) % len(candidates)]

    def check(self, extents: Tensor) -> None:
        """Raises RuntimeError unless the windows that are timed give what their definition gives.

        A few rows of the video alone are computed key by key; text is no part of a window.
        """
        q, k, v = (x[:, :, : self.grid.tokens] for x in (self.q, self.k, self.v))
        rows = sample_query_rows(self.grid, CHECKED_ROWS, seed=0)
        expected = exact_rows(Inputs("random", q, k, v, self.grid), rows, extents)
        every = tuple(name for name, backend in BACKENDS.items() if backend.windows)
        some = CHECKED.get(q.device.type)
        for backend in some or every:
            try:
                result = window_attention(
                    q, k, v, VideoSequence(self.grid), HeadWindows(extents), backend=backend
                )
            except BackendRefused:
                continue
            error = relative_error(result[:, :, rows], expected)
            if error > TOLERANCE[self.q.dtype]:
                raise RuntimeError(f"{backend} differs from its definition by {error:.2g}.")
            if some:
                return


@dataclass(frozen=True)
class Measured:
    """Seconds of one layer and pass, and what the windows really were.

    capture: what it adds to a dense call when it is launched behind it without a wait, not below 0.
    """

    low_linear: float
    low_dense: float
    capture: float
    high_linear: float
    high_dense: float
    high_windowed: float
    density: float
    extra_memory: float | None  # of windowed over dense attention, as a share; None off the GPU

    def steps(self, model: ModelShape) -> dict[str, float]:
        """Seconds of one step, extrapolated over layers and passes; capture watches one pass only."""
        times = model.layers * model.passes
        low = times * (self.low_linear + self.low_dense)
        return {
            "LR": low,
            "LR with capture": low + model.layers * self.capture,
            "HR, dense": times * (self.high_linear + self.high_dense),
            "HR, windows": times * (self.high_linear + self.high_windowed),
        }


def measure(model: ModelShape, plan: Plan, device: str, depth: int, rounds: int) -> Measured:
    """All of it in turns on the device; `depth` layers are run, times are per layer."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    with torch.inference_mode():
        low, high = (Layer(model, size, device, dtype, depth) for size in (plan.low, plan.high))
        extents = high.extents(plan.s)
        high.check(extents)
        runs: dict[str, Callable[[], object]] = {
            "low linear": low.linear,
            "low dense": low.dense,
            "capture": lambda: low.dense_with_capture(plan.rows),
            "high linear": high.linear,
            "high dense": high.dense,
            "high windowed": lambda: high.windowed(extents),
        }
        peaks: dict[str, float] = {}
        for run in runs.values():
            run()  # the first call also times the backends against each other
        if device == "cuda":
            runs = {name: _with_peak(name, run, peaks) for name, run in runs.items()}
        seconds = {name: taken / depth for name, taken in median_seconds(runs, rounds, device).items()}
    seconds["capture"] = max(0.0, seconds["capture"] - seconds["low dense"])
    extra = peaks["high windowed"] / peaks["high dense"] - 1 if device == "cuda" else None
    density = attention_density(high.grid, extents)
    return Measured(*seconds.values(), density=density, extra_memory=extra)


def _with_peak(name: str, run: Callable[[], object], peaks: dict[str, float]) -> Callable[[], None]:
    """The run, which notes the most memory that was in use meanwhile."""

    def noting() -> None:
        torch.cuda.reset_peak_memory_stats()
        run()
        peaks[name] = torch.cuda.max_memory_allocated()

    return noting
