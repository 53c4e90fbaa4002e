"""What measuring where the heads look costs, against the attention call that it watches."""

from __future__ import annotations

from benchmarks.attention.coverage import ROWS
from benchmarks.common.exact_attention import Inputs
from benchmarks.common.tables import Table
from benchmarks.common.timing import median_seconds
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.reach.choice import choose_tile_sums
from s2flow_core.reach.measure import measure_reach
from s2flow_core.reach.output_error import measure_reach_and_error
from s2flow_core.reach.rows import sample_query_rows
from s2flow_core.windows.grid import TokenGrid, choose_reach_tile
from s2flow_core.windows.ladder import extent_ladder

# What the Low-Res Sampler records unless told otherwise.
DEFAULT = "reach and errors"


def capture_table(inputs: Inputs, dense_seconds: float, rounds: int) -> tuple[Table, float]:
    """The table, and the share of one dense call that the default capture takes."""
    grid = TokenGrid(inputs.grid.shape, choose_reach_tile(inputs.grid.shape))
    knots = extent_ladder(grid.tiles)
    rows = sample_query_rows(grid, ROWS, seed=0)
    runs = {
        "reach": lambda: measure_reach(inputs.q, inputs.k, VideoSequence(grid), rows, knots),
        DEFAULT: lambda: measure_reach_and_error(
            inputs.q, inputs.k, inputs.v, VideoSequence(grid), rows, knots
        ),
    }
    for run in runs.values():
        run()
    seconds = median_seconds(runs, rounds, inputs.q.device.type)
    way = choose_tile_sums(inputs.q, grid)[0].__name__
    table = Table(
        f"Capture of {ROWS} rows, {inputs.name}",
        ["what", "by", "tiles", "ms", "share of the fastest dense call"],
    )
    for what, taken in seconds.items():
        table.add(what, way, grid.tile_count, taken * 1e3, taken / dense_seconds)
    return table, seconds[DEFAULT] / dense_seconds
