"""The paper's case: 30 of 50 steps at the large size, where the first picture is held to its bars."""

from __future__ import annotations

from benchmarks.common.intervals import mean_interval
from benchmarks.common.kept_rows import Rows, column
from benchmarks.quality.runs import (
    ALL_DEFAULTS,
    DEFAULT_WINDOWS,
    DIRECT,
    ENLARGED,
    Seed,
    cost,
    density_of,
    direct_result,
)
from demo.clips.detail import enlarged
from s2flow_core.attention.rotary import DEFAULT_ROPE

LEFT = 30
# The largest size that the small model was trained at.
LARGEST_KNOWN = 192
DENSE = "dense, rope none"
LEAST_SHOWN = 0.95
DETAIL = (0.6, 1.2)


def paper_case_rows(seed: Seed) -> Rows:
    """Dense attention, the nodes' defaults, the model alone at the large size, and plain enlarging."""
    triple, plan = seed.triple(LEFT), seed.plan(DEFAULT_WINDOWS, LEFT)
    results = {
        DENSE: seed.run.high_res(triple),
        ALL_DEFAULTS: seed.run.high_res(triple, windows=plan, rope=DEFAULT_ROPE),
        DIRECT: direct_result(seed),
    }
    rows = {name: seed.seen(seed.decoded(result)) | cost(result) for name, result in results.items()}
    rows[ALL_DEFAULTS]["density"] = density_of(plan, triple[1])
    return rows | {ENLARGED: seed.seen(enlarged(seed.small_video))}


def paper_case_problems(seeds: list[Rows]) -> list[str]:
    """A sentence for every bar of the first picture that is missed."""
    problems = [
        f"{name}: {kind} is right in {share:.0%} of the videos at t_i = {LEFT}, less than {LEAST_SHOWN:.0%}."
        for name, kinds in ((DENSE, ("prompt", "single")), (ALL_DEFAULTS, ("prompt", "single", "waves")))
        for kind in kinds
        if (share := float(column(seeds, name, kind).mean())) < LEAST_SHOWN
    ]
    with_outlines = [
        rows for rows in seeds if all("ragged" in rows[name] for name in (ALL_DEFAULTS, ENLARGED))
    ]
    if with_outlines:
        ours, theirs = (column(with_outlines, name, "ragged") for name in (ALL_DEFAULTS, ENLARGED))
        mean, low, high = mean_interval(ours - theirs)
        if mean > 0:
            problems.append(
                f"Outlines are {mean:.3f} more ragged than the enlarged small video's "
                f"({low:+.3f} ... {high:+.3f})."
            )
    detail = float(column(seeds, ALL_DEFAULTS, "detail").mean())
    if not DETAIL[0] <= detail <= DETAIL[1]:
        problems.append(f"Detail is {detail:.2f} of a true video's, not {DETAIL[0]} to {DETAIL[1]}.")
    clearly = [
        mean_interval(column(seeds, ALL_DEFAULTS, kind) - column(seeds, DIRECT, kind))[1] > 0
        for kind in ("prompt", "LR PSNR")
    ]
    if not any(clearly):
        problems.append("The model alone at the large size is not clearly worse than the cascade.")
    return problems
