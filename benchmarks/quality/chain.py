"""Four times the size: in one jump, or in a chain of two enlargements."""

from __future__ import annotations

from benchmarks.common.kept_rows import Rows
from benchmarks.common.small_model import HighResResult, LowResRun
from benchmarks.common.video_measures import true_detail, video_row
from benchmarks.quality.runs import DEFAULT_WINDOWS, ENLARGED, Seed, cost, density_of
from demo.clips.detail import enlarged
from demo.settings import SCALE

FACTOR = int(SCALE) ** 2
LEFT, LEFT_AGAIN = 12, 6  # steps at the second size, and at the third

JUMP = f"one jump, t_i = {LEFT}"
CHAIN = f"chain, t_i = {LEFT} and {LEFT_AGAIN}"


def chain_rows(seed: Seed) -> Rows:
    """Both ways with the nodes' defaults, and the small video enlarged, from decoded pixels."""
    small = seed.small_video
    detail = true_detail(seed.run.prompt, seed.run.seed, small, seed.size * FACTOR)
    rows: Rows = {ENLARGED: video_row(enlarged(small, FACTOR), small, seed.run.prompt, detail)}
    results = {
        JUMP: [enlarge(seed.run, LEFT, FACTOR)[:2]],
        CHAIN: in_chain(seed.run),
    }
    for name, parts in results.items():
        last = parts[-1][0]
        video = seed.decoded(last)
        seconds = sum(result.seconds for result, _ in parts)
        calls = sum(result.calls for result, _ in parts)
        rows[name] = video_row(video, small, seed.run.prompt, detail) | {
            **cost(HighResResult(last.latent, calls, seconds)),
            "density": parts[-1][1],
        }
    return rows


def in_chain(run: LowResRun) -> list[tuple[HighResResult, float]]:
    """(result, density) of each enlargement."""
    result, density, larger = enlarge(run, LEFT, int(SCALE))
    again, density_again, _ = enlarge(larger, LEFT_AGAIN, int(SCALE))
    return [(result, density), (again, density_again)]


def enlarge(run: LowResRun, left: int, scale: int) -> tuple[HighResResult, float, LowResRun]:
    """One enlargement with the nodes' defaults, its density, and the run to go on from."""
    triple = run.transition(left, scale=float(scale))
    windows = DEFAULT_WINDOWS
    plan = run.windows(triple[0], windows.s, windows.policy, windows.tail)
    result, larger = run.recorded_high_res(triple, windows=plan)
    return result, density_of(plan, triple[1]), larger
