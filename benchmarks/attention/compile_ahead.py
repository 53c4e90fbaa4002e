"""Compiles kernels on several threads before they are timed one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch

from s2flow_core.attention.call import AttentionCall
from s2flow_core.windows.grid import TokenGrid, Triple

_THREADS = 12


def compile_ahead(runs: Mapping[str, Callable[[], object]]) -> dict[str, Exception]:
    """Runs each once -> what failed. A kernel that is compiled twice at once is the same kernel."""

    def failure(run: Callable[[], object]) -> Exception | None:
        try:
            with torch.inference_mode():
                run()
        except Exception as error:  # too much shared memory, or the compiler gives up
            return error
        return None

    with ThreadPoolExecutor(_THREADS) as pool:
        found = dict(zip(runs, pool.map(failure, runs.values()), strict=True))
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return {name: error for name, error in found.items() if error is not None}


def small_call(tile: Triple, dim: int, dtype: torch.dtype, device: str, tail: bool = False) -> AttentionCall:
    """A few whole tiles; the kernels that it needs are those of any large call of this kind."""
    t, h, w = tile
    grid = TokenGrid((2 * t, 2 * h, 3 * w), tile)
    q = torch.zeros(1, grid.tokens, 2, dim, dtype=dtype, device=device).transpose(1, 2)
    return AttentionCall(q, q, q, grid, ((1, 1, 2), (2, 1, 3)), 0, 0, None, dim**-0.5, tail)
