"""Times the Triton kernel's launch configurations on the GPU at hand, to update the shipped table."""

from __future__ import annotations

import itertools

from benchmarks.attention.inputs import spread_extents
from benchmarks.common.exact_attention import Inputs
from benchmarks.common.tables import Table
from benchmarks.common.timing import median_seconds
from s2flow_core.attention.call import AttentionCall
from s2flow_core.kernels.launch_table import Launch, window_launch

_DENSITY = 0.5
_ROUNDS = 5


def tuning_table(inputs: Inputs) -> Table:
    """Every configuration that runs, the fastest first."""
    from s2flow_core.attention.backends.triton_windows import run
    from s2flow_core.kernels.architecture import architecture_of

    extents = spread_extents(inputs.grid, _DENSITY, inputs.q.shape[1])
    windows = tuple((t, h, w) for t, h, w in extents.tolist())
    scale = inputs.q.shape[3] ** -0.5
    call = AttentionCall(inputs.q, inputs.k, inputs.v, inputs.grid, windows, 0, 0, None, scale, False)
    runs = {}
    for blocks in itertools.product((64, 128), (32, 64, 128), (4, 8), (1, 2, 3, 4)):
        launch = Launch(*blocks)
        try:
            run(call, launch)
        except Exception:  # too much shared memory, or the compiler gives up
            continue
        runs[str(launch)] = lambda launch=launch: run(call, launch)
    seconds = median_seconds(runs, _ROUNDS, inputs.q.device.type)
    architecture = architecture_of(inputs.q.device)
    shipped = str(window_launch(architecture, inputs.q.shape[3]))
    table = Table(f"Launch configurations on {architecture}, {inputs.name}, s = {_DENSITY}", ["launch", "ms"])
    for name in sorted(seconds, key=lambda name: seconds[name]):
        table.add(f"{name} (shipped)" if name == shipped else name, seconds[name] * 1e3)
    return table
