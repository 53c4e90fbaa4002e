"""What is measured on a GPU: a minute of an H100, the most telling tables first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

import torch

from benchmarks.attention.compile_ahead import compile_ahead, small_call
from benchmarks.attention.coverage import random_run
from benchmarks.attention.inputs import HR_STEPS, CapturedRun, random_inputs
from benchmarks.attention.int8_error import int8_error_table
from benchmarks.attention.linearity import linearity_table
from benchmarks.attention.price_of_auto import auto_price_table
from benchmarks.attention.results import Results
from benchmarks.attention.rivals import Rival
from benchmarks.attention.tables import DENSITIES, DIM, activations, add_captured, add_comparison
from benchmarks.attention.tuning import BACKENDS, tuning_table
from s2flow_core.attention.registry import BACKENDS as REGISTERED
from s2flow_core.attention.trust import first_line
from s2flow_core.windows.grid import TokenGrid

GRID, HEADS = TokenGrid((30, 48, 80)), 24
LARGE_GRID, LARGE_HEADS = TokenGrid((30, 96, 160)), 4
"""All 24 heads would be 2.6e15 operations in one dense call."""

LARGE_DENSITIES = DENSITIES[:2]
TUNED_HEADS = 8
FLEX_DENSITY = 0.5
RESIZE = 16  # 81,920 tokens of the small model: enough to keep a GPU busy
ELSEWHERE = (
    "What needs no GPU is not measured with one, and is in attention_cpu.json: counted capture, the demo's "
    "small run, what windows keep, the record, and the compiled kernels."
)


def measure_cuda(results: Results, quick: bool, tune: bool, flex: bool) -> None:
    """All tables of a GPU. flex: FlexAttention too, which takes long to compile."""
    print(ELSEWHERE, end="\n\n", flush=True)
    results.measure("compiling", lambda: compile_kernels(results))
    results.measure("random numbers", lambda: add_first(results, (FLEX_DENSITY,) if flex else ()))
    if tune:
        for backend in BACKENDS:
            results.measure(f"tuning {backend}", partial(add_tuning, results, backend))
    if quick:
        return
    results.measure("random numbers, large", lambda: add_large(results))
    results.measure(
        "captured numbers", lambda: add_captured(results, of_small_model(results, RESIZE), "cuda", 3)
    )
    results.measure("eight bits", lambda: results.add(*int8_error_table(of_small_model(results, 2), "cuda")))
    results.measure("cost against tokens", lambda: results.add(*linearity_table("cuda")))
    results.measure("price of auto", lambda: results.add(*auto_price_table("cuda")))


def compile_kernels(results: Results) -> None:
    """Those of the tables below; what cannot be compiled is told."""
    kinds: list[tuple[tuple[int, int, int], torch.dtype, bool]] = [
        *product(((2, 8, 8), (1, 8, 16)), (torch.bfloat16,), (False, True)),
        *product(((1, 8, 8),), (torch.bfloat16, torch.float16), (False,)),
    ]
    runs: dict[str, Callable[[], object]] = {}
    for (tile, dtype, tail), backend in product(kinds, BACKENDS):
        call = small_call(tile, DIM, dtype, "cuda", tail)
        refusal = REGISTERED[backend].refusal(call)
        if refusal is None:
            runs[f"{backend} of {tile}, {dtype}{', tail' * tail}"] = partial(REGISTERED[backend].run, call)
        else:
            results.problems.append(f"{backend} refuses {tile}, {dtype}: {refusal}")
    for name, error in compile_ahead(runs).items():
        results.tell(f"{name} fails: {first_line(error)}")


def add_first(results: Results, flex: tuple[float, ...]) -> None:
    def skips(rival: Rival) -> bool:
        """Boxes are too few at a time to fill a GPU when they are large."""
        return "torch_boxes" in rival.name and rival.density > 0.3

    inputs = random_inputs(GRID, HEADS, DIM, torch.bfloat16, "cuda")
    add_comparison(results, inputs, DENSITIES, rounds=3, flex=flex, skips=skips)


def add_large(results: Results) -> None:
    def skips(rival: Rival) -> bool:
        return "torch_boxes" in rival.name or "efficient" in rival.name

    inputs = random_inputs(LARGE_GRID, LARGE_HEADS, DIM, torch.bfloat16, "cuda")
    add_comparison(results, inputs, LARGE_DENSITIES, rounds=2, skips=skips)


def add_tuning(results: Results, backend: str) -> None:
    results.add(tuning_table(random_inputs(GRID, TUNED_HEADS, DIM, torch.bfloat16, "cuda"), backend))


def of_small_model(results: Results, resize: int) -> CapturedRun:
    """Its activations, or random numbers where its host cannot be run here for any reason."""
    steps = HR_STEPS[1:2] if resize == RESIZE else HR_STEPS
    try:
        return activations(resize, steps)
    except Exception as error:
        results.tell(f"Random numbers stand in for the small model's activations: {first_line(error)}")
        return random_run(resize, steps)
