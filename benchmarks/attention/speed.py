"""Time of one attention call: ours under windows, against every dense kernel and every sparse peer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from benchmarks.attention.rivals import Rival, dense_rivals, flex_rival, sparse_rivals
from benchmarks.common.exact_attention import Inputs, exact_rows, relative_error
from benchmarks.common.tables import Table
from benchmarks.common.timing import median_seconds
from s2flow_core.attention.call import AttentionCall
from s2flow_core.attention.registry import BACKENDS
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.attention.trust import first_line
from s2flow_core.attention.window_attention import HeadWindows, attention_density, window_attention
from s2flow_core.reach.rows import sample_query_rows

COLUMNS = ["backend", "s", "ms", "TFLOP/s", "x fastest dense", "x ideal", "error to dense"]
CHECKED_ROWS = 64


@dataclass(frozen=True)
class Speeds:
    """One table, the times it was made from, and a sentence for all that was wrong or could not run.

    seconds, errors: (backend, s) -> value; dense kernels have s = 1. fastest_dense: in seconds.
    """

    table: Table
    seconds: dict[tuple[str, float], float]
    errors: dict[tuple[str, float], float]
    fastest_dense: float
    wrong: list[str]
    left_out: list[str]


def compare_speed(
    inputs: Inputs,
    windows: dict[float, Tensor],
    rounds: int,
    flex: tuple[float, ...] = (),
    with_tail: bool = False,
    skips: Callable[[Rival], bool] = lambda rival: False,
) -> Speeds:
    """Check every result on sampled rows against the definition in float32, then time what was right.

    windows: s -> (heads, 3) extents. flex: those s at which FlexAttention is compared too. skips: which
    rivals are not run, because they would take too long.
    """
    rows = sample_query_rows(inputs.grid, CHECKED_ROWS, seed=0).to(inputs.q.device)
    dense = exact_rows(inputs, rows)
    contest = Contest(inputs, rows, dense, skips)
    for rival in dense_rivals(inputs):
        contest.enter(rival, dense)
    for rival in sparse_rivals(inputs):
        contest.enter(rival, None)
    for s, extents in windows.items():
        expected = exact_rows(inputs, rows, extents)
        for rival in our_rivals(inputs, extents):
            contest.enter(rival, expected)
        if with_tail:
            for rival in our_rivals(inputs, extents, tail=True):
                contest.enter(rival, None)
        if s in flex:
            contest.enter_flex(extents, expected)
    return contest.timed(rounds)


def our_rivals(inputs: Inputs, extents: Tensor, tail: bool = False) -> list[Rival]:
    """Each of our windowed backends that can compute the call."""
    q, k, v, grid = inputs.q, inputs.k, inputs.v, inputs.grid
    windows = tuple((t, h, w) for t, h, w in extents.tolist())
    call = AttentionCall(q, k, v, grid, windows, 0, 0, None, q.shape[-1] ** -0.5, tail)
    density = attention_density(grid, extents)

    def windowed(name: str) -> Callable[[], Tensor]:
        return lambda: window_attention(
            q, k, v, VideoSequence(grid), HeadWindows(extents, tail=tail), backend=name
        )

    return [
        Rival(
            f"s2flow {backend.name}{' + tail' if tail else ''}",
            windowed(backend.name),
            density,
            windows=True,
            eight_bits=backend.eight_bits,
        )
        for backend in BACKENDS.values()
        if backend.windows and backend.refusal(call) is None
    ]


class Contest:
    """Rivals that were right so far, with their error to dense."""

    def __init__(self, inputs: Inputs, rows: Tensor, dense: Tensor, skips: Callable[[Rival], bool]):
        self.inputs, self.rows, self.dense, self.skips = inputs, rows, dense, skips
        self.entered: dict[tuple[str, float], Rival] = {}
        self.errors: dict[tuple[str, float], float] = {}
        self.wrong: list[str] = []
        self.left_out: list[str] = []
        self.skipped: list[str] = []

    def enter_flex(self, extents: Tensor, expected: Tensor) -> None:
        """FlexAttention may not even be built here."""
        try:
            rival = flex_rival(self.inputs, extents)
        except Exception as error:  # no compiler, another torch, other tiles
            self.left_out.append(f"FlexAttention: {first_line(error)}")
        else:
            self.enter(rival, expected)

    def enter(self, rival: Rival, expected: Tensor | None) -> None:
        """expected: (B, heads, rows, dim) what it must compute; None if it chooses its keys itself."""
        if self.skips(rival):
            self.skipped.append(f"{rival.name} at s = {rival.density:.2g}")
            return
        try:
            result = rival.run()[:, :, self.rows]
        except Exception as error:  # a kernel that refuses this device, dtype or size
            self.left_out.append(f"{rival.name}: {first_line(error)}")
            return
        if expected is not None and self.is_ours_or_torch(rival):
            error = relative_error(result, expected)
            if not error <= rival.most_error(self.inputs.q.dtype):
                self.wrong.append(
                    f"{self.inputs.name}: {rival.name} at s = {rival.density:.3f} is off by {error:.1e}."
                )
                return
        key = (rival.name, rival.density)
        self.entered[key] = rival
        self.errors[key] = relative_error(result, self.dense)

    @staticmethod
    def is_ours_or_torch(rival: Rival) -> bool:
        """Quantised kernels (sageattention) are allowed their error; it is shown."""
        return rival.windows or rival.name.startswith("sdpa")

    def timed(self, rounds: int) -> Speeds:
        runs = {f"{name} {s}": rival.run for (name, s), rival in self.entered.items()}
        medians = median_seconds(runs, rounds, self.inputs.q.device.type)
        seconds = {(name, s): medians[f"{name} {s}"] for name, s in self.entered}
        dense = [seconds[key] for key, rival in self.entered.items() if rival.density == 1.0]
        fastest = min(dense, default=math.nan)  # where no dense kernel runs, ours are still timed
        table = Table(f"Attention, {self.inputs.name}, {self.inputs.q.shape[1]} heads", COLUMNS)
        for (name, s), taken in seconds.items():
            work = self.inputs.dense_flops * s / taken / 1e12
            speedup = fastest / taken
            table.add(name, s, taken * 1e3, work, speedup, speedup * s, self.errors[name, s])
        notes = {"Could not run here: ": self.left_out, "Not run, for want of time: ": self.skipped}
        table.note = " ".join(
            told + "; ".join(sorted(set(names))) + "." for told, names in notes.items() if names
        )
        return Speeds(table, seconds, self.errors, fastest, self.wrong, self.left_out)
