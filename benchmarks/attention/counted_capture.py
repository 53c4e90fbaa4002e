"""What capture costs on a large GPU by operations and bytes, counted on tensors without numbers."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from importlib import import_module
from typing import Any
from unittest.mock import patch

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.common.counted_work import CountedWork
from benchmarks.common.tables import Table
from s2flow_core.attention import tile_means
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.reach import box_sums, output_error
from s2flow_core.reach.output_error import measure_reach_and_error
from s2flow_core.reach.rows import sample_query_rows
from s2flow_core.windows import extents
from s2flow_core.windows.grid import TokenGrid, choose_reach_tile
from s2flow_core.windows.ladder import extent_ladder

PAPER_GRID, HEADS, DIM, ROWS = (30, 48, 80), 24, 128, 256
FLOPS_PER_SECOND, BYTES_PER_SECOND = 500e12, 3.35e12
"""Of an H100: what dense attention reaches there by published figures, and its memory's bandwidth."""


def counted_capture() -> tuple[Table, float]:
    """The table, and the share of a dense call by operations and bytes."""
    dense = 4.0 * (PAPER_GRID[0] * PAPER_GRID[1] * PAPER_GRID[2]) ** 2 * HEADS * DIM
    work = capture_work()
    seconds = work.flops / FLOPS_PER_SECOND + work.bytes / BYTES_PER_SECOND
    share = seconds / (dense / FLOPS_PER_SECOND)
    table = Table(
        f"Capture with errors of {ROWS} rows, {HEADS} heads of {DIM}, {PAPER_GRID} tokens (counted)",
        ["what", "operations", "GB read and written", "share of a dense call"],
    )
    table.add("dense call", dense, "", 1.0)
    table.add("capture", work.flops, work.bytes / 1e9, share)
    table.note = (
        f"The share is that of the time at {FLOPS_PER_SECOND / 1e12:g} TFLOP/s and "
        f"{BYTES_PER_SECOND / 1e12:g} TB/s, with nothing overlapped and nothing cached."
    )
    return table, share


def capture_work() -> CountedWork:
    """Of the second call for one layer: the first one makes tables that are kept."""
    with ExitStack() as stack:
        work = CountedWork()
        kernel = import_module("s2flow_core.reach.triton_tile_sums")
        choice = import_module("s2flow_core.reach.choice")
        stack.enter_context(FakeTensorMode())
        stack.enter_context(patch.object(kernel, "architecture_of", lambda device: "sm_90"))
        stack.enter_context(patch.object(torch.cuda, "device_of", lambda tensor: nullcontext()))
        stack.enter_context(patch.object(choice, "_is_right", lambda *call: True))
        stack.enter_context(patch.object(kernel, "tile_sums_programs", lambda programs: _counting(work)))
        for table in (
            *(extents.axis_covers, box_sums._runs, output_error._projection),
            tile_means._number_of_tokens,
        ):
            table.cache_clear()  # tensors with numbers must not meet those without
            stack.callback(table.cache_clear)
        grid = TokenGrid(PAPER_GRID, choose_reach_tile(PAPER_GRID))
        knots = extent_ladder(grid.tiles)
        q, k, v = (
            torch.empty(1, grid.tokens, HEADS, DIM, dtype=torch.bfloat16, device="cuda").transpose(1, 2)
            for _ in "qkv"
        )
        rows = torch.empty_like(sample_query_rows(TokenGrid((1, 16, 16)), ROWS, 0), device="cuda")
        measure_reach_and_error(q, k, v, VideoSequence(grid), rows, knots)
        work.flops = work.bytes = 0.0
        with work:
            measure_reach_and_error(q, k, v, VideoSequence(grid), rows, knots)
    return work


def _counting(work: CountedWork) -> Any:
    """Stands for the kernel's launch: every program reads its keys and values once."""

    def launch(
        q: Any, k: Any, values: Any, bias: Any, lse: Any, means: Any, *rest: Any, **options: Any
    ) -> None:
        heads, asked, dim = q.shape
        blocks = -(-asked // options["BLOCK_M"])
        tokens = k.shape[1]
        work.flops += 2.0 * heads * asked * tokens * (dim + options["COLUMNS"])
        keys = heads * tokens * (dim * k.element_size() + options["COLUMNS"] * values.element_size())
        written = sum(x.numel() * x.element_size() for x in (lse, means))
        work.bytes += blocks * keys + written + q.numel() * q.element_size()

    return launch
