"""What measuring where the heads look costs, against the attention call that it watches."""

from __future__ import annotations

from collections.abc import Callable

from torch.nn.functional import scaled_dot_product_attention

from benchmarks.attention.coverage import ROWS
from benchmarks.common.exact_attention import Inputs
from benchmarks.common.tables import Table
from benchmarks.common.timing import median_seconds
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.reach.box_sums import KnownBoxes
from s2flow_core.reach.choice import choose_tile_sums
from s2flow_core.reach.measure import measure_reach
from s2flow_core.reach.output_error import measure_head_sums
from s2flow_core.reach.rows import sample_query_rows
from s2flow_core.windows.grid import TokenGrid, choose_reach_tile
from s2flow_core.windows.ladder import extent_ladder

# What the Low-Res Sampler records unless told otherwise.
DEFAULT = "reach and errors"


def capture_table(inputs: Inputs, dense_seconds: float, rounds: int) -> tuple[Table, float]:
    """The table, and the share of one dense call that the default capture takes.

    On a GPU capture is what it adds behind a dense call: its launches are queued while that one runs, as in
    a model.
    """
    grid = TokenGrid(inputs.grid.shape, choose_reach_tile(inputs.grid.shape))
    q, k, v, device = inputs.q, inputs.k, inputs.v, inputs.q.device.type
    knots, known, sequence = extent_ladder(grid.tiles), KnownBoxes(), VideoSequence(grid)
    rows = sample_query_rows(grid, ROWS, seed=0).to(q.device)
    captures: dict[str, Callable[[], object]] = {
        "reach": lambda: measure_reach(q, k, sequence, rows, knots, known),
        DEFAULT: lambda: measure_head_sums(q, k, v, sequence, rows, knots, known).of_layer(),
    }

    def dense() -> None:
        scaled_dot_product_attention(q, k, v)

    def behind(capture: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            dense()
            capture()

        return run

    for run in captures.values():
        run()
    if device == "cuda":
        dense()
        runs = {"": dense, **{what: behind(capture) for what, capture in captures.items()}}
        taken = median_seconds(runs, rounds, device)
        seconds = {what: max(0.0, taken[what] - taken[""]) for what in captures}
    else:
        seconds = median_seconds(captures, rounds, device)
    way = choose_tile_sums(q, grid)[0].__name__
    table = Table(
        f"Capture of {ROWS} rows, {inputs.name}",
        ["what", "by", "tiles", "ms", "share of the fastest dense call"],
    )
    for what, one in seconds.items():
        table.add(what, way, grid.tile_count, one * 1e3, one / dense_seconds)
    if device == "cuda":
        table.note = (
            "What capture adds to a dense call behind which it is launched without a wait, not below 0."
        )
    return table, seconds[DEFAULT] / dense_seconds
