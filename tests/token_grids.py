"""Small grids of tokens, partial tiles included, and the windows on them."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st

from s2flow_core.windows.grid import TokenGrid

grids = st.builds(
    TokenGrid,
    st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)),
    st.sampled_from([(1, 1, 1), (1, 2, 2), (2, 2, 3), (1, 4, 4)]),
)


def every_extent(grid: TokenGrid):
    return itertools.product(*(range(1, n + 1) for n in grid.tiles))
