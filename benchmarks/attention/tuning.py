"""Times the Triton kernels' launch configurations on the GPU at hand, to update the shipped table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module

from benchmarks.attention.compile_ahead import compile_ahead, small_call
from benchmarks.attention.inputs import spread_extents
from benchmarks.common.exact_attention import Inputs
from benchmarks.common.tables import Table
from benchmarks.common.timing import median_seconds
from s2flow_core.attention.call import AttentionCall
from s2flow_core.attention.trust import first_line
from s2flow_core.kernels.launch_table import Launch, int8_launch, window_launch

SHIPPED = {"triton_windows": window_launch, "triton_windows_int8": int8_launch}
BACKENDS = tuple(SHIPPED)
LAUNCHES = (
    *(Launch(128, 128, 8, stages) for stages in (1, 2, 3)),
    *(Launch(128, 64, 8, stages) for stages in (2, 3, 4)),
    *(Launch(64, 64, 4, stages) for stages in (2, 3, 4)),
    Launch(64, 128, 4, 2),
    *(Launch(128, 32, 8, stages) for stages in (3, 4)),
)
"""Those that may win on a chip whose programs have 227 KB of shared memory."""

_DENSITY = 0.5
_ROUNDS = 3


def tuning_table(inputs: Inputs, backend: str) -> Table:
    """Every configuration that runs, the fastest first."""
    from s2flow_core.kernels.architecture import architecture_of

    dim, device = inputs.q.shape[3], inputs.q.device.type
    run = import_module(f"s2flow_core.attention.backends.{backend}").run
    extents = spread_extents(inputs.grid, _DENSITY, inputs.q.shape[1])
    windows = tuple((t, h, w) for t, h, w in extents.tolist())
    call = AttentionCall(inputs.q, inputs.k, inputs.v, inputs.grid, windows, 0, 0, None, dim**-0.5, False)
    architecture = architecture_of(inputs.q.device)
    shipped = SHIPPED[backend](architecture, dim)
    launches = LAUNCHES if shipped is None or shipped in LAUNCHES else (*LAUNCHES, shipped)
    small = small_call(inputs.grid.tile, dim, inputs.q.dtype, device)
    failed = compile_ahead({_name(launch): partial(run, small, launch) for launch in launches})
    runs: dict[str, Callable[[], object]] = {
        _name(launch): partial(run, call, launch) for launch in launches if _name(launch) not in failed
    }
    for once in runs.values():
        once()
    seconds = median_seconds(runs, _ROUNDS, device)
    title = f"Launch configurations of {backend} on {architecture}, {inputs.name}, s = {_DENSITY}"
    table = Table(title, ["queries x keys, warps, stages", "ms"])
    for name in sorted(seconds, key=lambda name: seconds[name]):
        is_shipped = shipped is not None and name == _name(shipped)
        table.add(f"{name} (shipped)" if is_shipped else name, seconds[name] * 1e3)
    if failed:
        told = (f"{name} ({first_line(error)})" for name, error in failed.items())
        table.note = "Could not run here: " + "; ".join(told) + "."
    return table


def _name(launch: Launch) -> str:
    halves = ", sums in half precision" * launch.half_sums
    return f"{launch.block_m}x{launch.block_n}, {launch.warps} warps, {launch.stages} stages{halves}"
