"""One seed of the quality benchmark: the runs of every table and the numbers read off them.

All runs of a seed start from the same small video. Unless a row says otherwise they start at the same state,
with STEPS_LEFT recorded steps left, so that they differ in one thing only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common.kept_rows import Row, Rows
from benchmarks.common.small_model import HighResResult, LowResRun, SmallModel, relative_errors
from benchmarks.common.timing import processor_seconds
from benchmarks.common.video_measures import true_detail, video_row
from benchmarks.quality.references import diffusehigh, hiflow
from demo.clips.detail import enlarged
from demo.clips.psnr import psnr
from demo.clips.scenes import TRAIN_SIZE
from demo.generate import decode, empty_latent, schedule
from demo.settings import SCALE, SHIFT, STEPS
from s2flow_core.attention.rotary import DEFAULT_ROPE
from s2flow_core.latent.resample import resize_latent
from s2flow_core.solver.flow_solver import DEFAULT_ORDER, DEFAULT_SOURCE
from training.checkpoints import save_atomically

STEPS_LEFT = 10
# Of the finer run that stands for the exact solution: Heun's second order with two calls a step.
REFERENCE_STEPS = 50
WINDOW_STEPS = 6
POLICIES = ("paper", "budget", "error", "error_run", "fixed")
DENSITIES = (0.25, 0.5, 0.75)
ORDERS = [(order, source) for order in (2, 3) for source in ("low_res", "history", "blend")]
CALLS = (6, 10, 15, 30)
PAPER_CALLS = 10  # the paper's solver is only run up to here
LEFT = (40, 30, 20, 10)
SKIPPED = 0.34

EULER = "Euler"
PAPER = "order 2 low_res"
DEFAULT = f"order {DEFAULT_ORDER} {DEFAULT_SOURCE}"
ALL_DEFAULTS = "S²Flow, default"
SQUEEZED = "S²Flow, rope position"
DIRECT = "direct HR"
ENLARGED = "LR, enlarged"
SECOND_ORDER = f"order 2 {DEFAULT_SOURCE}"  # which leads at some numbers of calls
RIVALS = ("dpmpp_2m", "uni_pc")


@dataclass(frozen=True)
class Windows:
    """A choice of windows as the Window Mask node takes it."""

    s: float
    policy: str
    tail: bool

    def __str__(self) -> str:
        return f"{self.policy} {self.s:.0%}{' tail' if self.tail else ''}"


PAPER_WINDOWS = Windows(0.5, "paper", False)
DEFAULT_WINDOWS = Windows(0.5, "error", True)


def tail_of(start: float, steps: int) -> Tensor:
    """sigma from start to 0 as the model's schedule would place them in that many steps -> (steps + 1,)."""
    unshifted = torch.linspace(start / (SHIFT - (SHIFT - 1) * start), 0, steps + 1)
    return SHIFT * unshifted / (1 + (SHIFT - 1) * unshifted)


class Seed:
    """A recorded small video and every run that starts from it; each is made once.

    folder: keeps what many rows start from, so that another process need not make it again.
    size: pixels of the small video's edge.
    """

    def __init__(
        self,
        model: SmallModel,
        index: int,
        folder: Path,
        reference_steps: int = REFERENCE_STEPS,
        size: int = TRAIN_SIZE,
    ):
        self.model, self.index, self.size = model, index, size
        self.folder = folder if size == TRAIN_SIZE else folder / str(size)
        self.reference_steps = reference_steps
        self.results: dict[tuple[str, int], HighResResult] = {}
        self.triples: dict[int, tuple[Any, Tensor, Any]] = {}

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, from its file if there is one."""
        path = self.folder / f"{name}_{self.index}.pt"
        if not path.is_file():
            save_atomically(make(), path)
        return torch.load(path, map_location="cpu", weights_only=False)

    @cached_property
    def run(self) -> LowResRun:
        made = self.kept(
            "low_res", lambda: self.model.recorded(self.index, STEPS, self.size, capture_error=True)
        )
        return self.model.run_of(self.index, *made)

    def triple(self, left: int = STEPS_LEFT) -> tuple[Any, Tensor, Any]:
        if left not in self.triples:
            self.triples[left] = self.kept(f"triple_{left}", lambda: self.run.transition(left))
        return self.triples[left]

    def with_steps(self, steps: int) -> tuple[Any, Tensor, Any]:
        """The common start, with another number of steps to go."""
        latent, sigmas, noise = self.triple()
        return latent, sigmas if steps == STEPS_LEFT else tail_of(float(sigmas[0]), steps), noise

    @cached_property
    def reference(self) -> Tensor:
        import comfy.samplers

        heun = comfy.samplers.sampler_object("heun")
        return self.kept(
            "reference", lambda: self.run.sampled(self.with_steps(self.reference_steps), heun).latent
        )

    def solved(self, name: str, steps: int = STEPS_LEFT) -> HighResResult:
        """A dense run by Euler, one of our orders ("order 2 blend") or a sampler of core."""
        import comfy.samplers

        key = (name, steps)
        if key not in self.results:
            triple = self.with_steps(steps)
            if name in RIVALS:
                self.results[key] = self.run.sampled(triple, comfy.samplers.sampler_object(name))
            else:
                order, source = (1, "none") if name == EULER else (int(name.split()[1]), name.split()[2])
                self.results[key] = self.run.high_res(triple, order=order, derivative=source)
        return self.results[key]

    def plan(self, windows: Windows, left: int = STEPS_LEFT) -> Any:
        latent, sigmas, _ = self.triple(left)
        return self.run.windows(latent, windows.s, windows.policy, windows.tail, sigmas)

    @cached_property
    def small_video(self) -> Tensor:
        """The decoded LR video (frames, h, w, 3)."""
        return decode(self.run.model.models, self.run.latent)[0]

    @property
    def large_size(self) -> int:
        """Pixels of the large video's edge."""
        return int(self.size * SCALE)

    def seen(self, video: Tensor) -> Row:
        """What is read off a large video (frames, H, W, 3)."""
        detail = true_detail(self.run.prompt, self.run.seed, self.small_video, self.large_size)
        return video_row(video, self.small_video, self.run.prompt, detail)

    def decoded(self, result: HighResResult) -> Tensor:
        """Of a run: the video (frames, H, W, 3)."""
        return decode(self.run.model.models, result.latent)[0]


def cost(result: HighResResult) -> Row:
    return {"calls": float(result.calls)} | processor_seconds("CPU s", result.seconds)


def latent_row(seed: Seed, result: HighResResult) -> Row:
    """Errors to the finer run, model calls and seconds."""
    return vars(relative_errors(result.latent, seed.reference)) | cost(result)


def window_rows(seed: Seed, densities: tuple[float, ...] = DENSITIES) -> Rows:
    """Every policy, density and tail against dense attention at the same Euler steps."""
    triple = seed.with_steps(WINDOW_STEPS)
    dense = seed.solved(EULER, WINDOW_STEPS)
    solver_error = vars(relative_errors(dense.latent, seed.reference))["whole"]
    rows: Rows = {
        "dense": {"density": 1.0, "total": solver_error} | processor_seconds("CPU s", dense.seconds)
    }
    for s in densities:
        for policy in POLICIES if s < 0.75 else POLICIES[:1]:
            for tail in (False, True):
                windows = Windows(s, policy, tail)
                plan = seed.plan(windows)
                result = seed.run.high_res(triple, windows=plan, order=1, backend="torch_boxes")
                rows[str(windows)] = vars(relative_errors(result.latent, dense.latent)) | {
                    "total": relative_errors(result.latent, seed.reference).whole,
                    "density": density_of(plan, triple[1]),
                    "coverage": plan.kept,
                    **processor_seconds("CPU s", result.seconds),
                }
    return rows


def density_of(plan: Any, sigmas: Tensor) -> float:
    """Mean density of the windows that a run over these sigmas (N+1,) looks up."""
    steps = [plan.step_at(float(sigma)) for sigma in sigmas[:-1]]
    return sum(plan.density_of_step(step) for step in steps) / len(steps)


def order_rows(seed: Seed) -> Rows:
    """Every order and source, and core's samplers, at the same model calls."""
    names = [EULER, *(f"order {order} {source}" for order, source in ORDERS), *RIVALS]
    return {name: latent_row(seed, seed.solved(name)) for name in names}


def call_rows(seed: Seed, calls: tuple[int, ...] = CALLS) -> Rows:
    """The default against the paper's solver and core's, by the number of model calls."""
    return {
        f"{name}, {steps} calls": latent_row(seed, seed.solved(name, steps))
        for steps in calls
        for name in (EULER, PAPER, SECOND_ORDER, DEFAULT, *RIVALS)
        if name != PAPER or steps <= PAPER_CALLS
    }


def method_results(seed: Seed) -> dict[str, HighResResult]:
    """The methods that start from the common state, by the name of their row."""
    import comfy.samplers

    run, triple = seed.run, seed.triple()
    field = run.model.module("nodes.host.sampling.record_at_high_res").RecordAtHighRes
    small = resize_latent(run.latent, triple[0]["samples"].shape[-2:])
    guided = {"DiffuseHigh-style": diffusehigh(small), "HiFlow-style": hiflow(field, run.trajectory)}
    results = {
        "cascade, Euler": seed.solved(EULER),
        "cascade, dpmpp_2m": seed.solved("dpmpp_2m"),
        "cascade, uni_pc": seed.solved("uni_pc"),
        "cascade, our solver": seed.solved(DEFAULT),
        "Euler, windows": run.high_res(triple, windows=seed.plan(DEFAULT_WINDOWS), order=1),
        "S²Flow, paper": run.high_res(
            triple, windows=seed.plan(PAPER_WINDOWS), order=2, derivative="low_res"
        ),
        ALL_DEFAULTS: run.high_res(triple, windows=seed.plan(DEFAULT_WINDOWS), rope=DEFAULT_ROPE),
        "our solver, a third skipped": run.high_res(triple, skip_share=SKIPPED),
        "our solver, aligned": run.high_res(triple, alignment=0.5),
    }
    for name, sampler in guided.items():
        results[name] = run.sampled(triple, comfy.samplers.KSAMPLER(sampler))
    return results


def direct_result(seed: Seed) -> HighResResult:
    """The model at the large size from pure noise, with all the steps."""
    import comfy.samplers

    from benchmarks.common.small_model import random_noise

    model = seed.run.model.models.model
    empty = {"samples": empty_latent(1, seed.large_size)}
    triple = (empty, schedule(model), random_noise(seed.run.seed))
    return seed.run.sampled(triple, comfy.samplers.sampler_object("euler"))


def method_rows(seed: Seed) -> Rows:
    """The methods side by side, in latent space and on decoded pixels."""
    results = method_results(seed)
    reference = decode(seed.run.model.models, seed.reference)[0]
    rows = {name: latent_row(seed, result) for name, result in results.items()}
    for name, result in results.items():
        video = seed.decoded(result)
        rows[name] |= seed.seen(video) | {"PSNR": psnr(video, reference)}
    direct = direct_result(seed)
    rows[DIRECT] = seed.seen(seed.decoded(direct)) | cost(direct)
    rows[ENLARGED] = seed.seen(enlarged(seed.small_video)) | {"calls": 0.0, **processor_seconds("CPU s", 0.0)}
    rows["finer run"] = seed.seen(reference)
    return rows


def squeezed_rows(seed: Seed) -> Rows:
    """The defaults with other positions; so without errors to the run that leaves them as they are."""
    result = seed.run.high_res(seed.triple(), windows=seed.plan(DEFAULT_WINDOWS), rope="position")
    return {SQUEEZED: seed.seen(seed.decoded(result)) | cost(result)}


def left_rows(seed: Seed, rope: str) -> Rows:
    """How many steps are left for the large size: what the video shows, from decoded pixels."""
    rows: Rows = {}
    for left in LEFT:
        plan = seed.plan(DEFAULT_WINDOWS, left)
        result = seed.run.high_res(seed.triple(left), windows=plan, rope=rope)
        name = f"t_i = {left}" if rope == "none" else f"t_i = {left}, rope {rope}"
        rows[name] = seed.seen(seed.decoded(result)) | cost(result)
    return rows
