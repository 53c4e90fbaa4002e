"""What measuring where the heads look costs, against the attention call that it watches."""

from __future__ import annotations

from benchmarks.attention_coverage import ROWS
from benchmarks.attention_inputs import Inputs
from benchmarks.interleaved import median_seconds
from benchmarks.tables import Table
from s2flow_core.grid import TokenGrid, choose_reach_tile
from s2flow_core.reach import measure_reach, sample_query_rows
from s2flow_core.tile_mass import choose_tile_mass


def capture_table(inputs: Inputs, dense_seconds: float, rounds: int) -> tuple[Table, float]:
    """The table, and the share of one dense call that capturing it takes."""
    grid = TokenGrid(inputs.grid.shape, choose_reach_tile(inputs.grid.shape))
    rows = sample_query_rows(grid, ROWS, seed=0)

    def capture():
        return measure_reach(inputs.q, inputs.k, grid, rows)

    capture()
    seconds = median_seconds({"capture": capture}, rounds, inputs.q.device.type)["capture"]
    way = choose_tile_mass(inputs.q, grid)[0].__name__
    table = Table(
        f"Capture of {ROWS} rows, {inputs.name}", ["by", "tiles", "ms", "share of the fastest dense call"]
    )
    table.add(way, grid.tile_count, seconds * 1e3, seconds / dense_seconds)
    return table, seconds / dense_seconds
