"""The tables of a GPU, made where there is none: no part fails, no tensors of two devices meet."""

from __future__ import annotations

import json
from contextlib import ExitStack, nullcontext

import pytest
import torch
from fake_gpu import enter_fake_gpu
from triton_interpreter import needs_triton

from benchmarks.attention.results import Results
from benchmarks.common.exact_attention import Inputs
from benchmarks.common.tables import Table
from s2flow_core.windows.grid import TokenGrid


def empty_inputs(grid: TokenGrid, heads: int, dim: int, dtype: torch.dtype, device: str) -> Inputs:
    shape = (1, grid.tokens, heads, dim)
    q, k, v = (torch.empty(shape, dtype=dtype, device=device).transpose(1, 2) for _ in "qkv")
    return Inputs(f"random, {grid.tokens} tokens", q, k, v, grid)


def test_the_fake_gpu_lets_no_devices_meet(monkeypatch):
    pytest.importorskip("triton")
    with ExitStack() as stack:
        enter_fake_gpu(monkeypatch, stack)
        there, here = torch.ones(3, device="cuda"), torch.ones(3)
        assert (there + there).device.type == "cuda" and here.sum() == 3
        with pytest.raises(RuntimeError, match="two different devices"):
            there.add(here)


@needs_triton
def test_every_part_runs_to_its_end(monkeypatch, tmp_path):
    from benchmarks.attention import capture_cost, cuda, int8_error, linearity, price_of_auto, speed, tuning
    from benchmarks.attention import rivals as dense

    def seconds(runs, rounds, device):
        for run in runs.values():
            run()
        return dict.fromkeys(runs, 0.5)

    for module in (capture_cost, linearity, speed, tuning):
        monkeypatch.setattr(module, "median_seconds", seconds)
    for module in (cuda, linearity):
        monkeypatch.setattr(module, "random_inputs", empty_inputs)
    for module in (speed, int8_error):
        monkeypatch.setattr(module, "relative_error", lambda result, expected: (result - expected).ndim * 0.0)
    monkeypatch.setattr(dense, "sdpa_kernel", lambda backends: nullcontext())
    for module in (cuda, tuning):  # one after another, because the fake GPU is this thread's
        monkeypatch.setattr(module, "compile_ahead", lambda runs: seconds(runs, 1, "cuda") and {})
    monkeypatch.setattr(cuda, "activations", lambda resize, steps: cuda.random_run(2, steps))
    monkeypatch.setattr(cuda, "GRID", TokenGrid((6, 32, 40)))
    monkeypatch.setattr(cuda, "LARGE_GRID", TokenGrid((6, 48, 64)))
    monkeypatch.setattr(cuda, "HEADS", 4)
    monkeypatch.setitem(linearity.FRAMES, "cuda", (4, 8))
    monkeypatch.setattr(price_of_auto, "STEPS", 1)
    results = Results(tmp_path / "tables.json")
    with ExitStack() as stack, torch.inference_mode():
        enter_fake_gpu(monkeypatch, stack)
        from s2flow_core.kernels import architecture

        monkeypatch.setattr(architecture, "architecture_of", lambda device: "sm_90")
        cuda.measure_cuda(results, quick=False, tune=True, flex=False)
    failed = [
        line for line in results.problems if "could not" in line or "fails" in line or "left out" in line
    ]
    assert not failed
    notes = [table.note for table in results.tables if "Could not run" in table.note]
    assert not notes
    assert len(results.tables) == 10
    assert len(json.loads((tmp_path / "tables.json").read_text())["tables"]) == 10


def a_table(name: str) -> Table:
    table = Table(name, ["row", "number"])
    table.add("one", 1.0)
    return table


def test_what_fails_takes_no_finished_table_with_it(tmp_path):
    results = Results(tmp_path / "tables.json")

    def broken() -> None:
        results.add(a_table("half"))
        raise ValueError("a kernel\nwith much to say")

    results.measure("first", lambda: results.add(a_table("first")))
    with pytest.raises(KeyboardInterrupt):
        results.measure("ended", lambda: (_ for _ in ()).throw(KeyboardInterrupt()))
    results.measure("broken", broken)
    results.measure("last", lambda: results.add(a_table("last")))
    kept = json.loads((tmp_path / "tables.json").read_text())
    assert [table["title"] for table in kept["tables"]] == ["first", "half", "last"]
    assert kept["fell_short"] == ["broken could not be measured: ValueError: a kernel"]


def test_only_some_parts_and_none_that_comes_too_late():
    results = Results(only=("large",), seconds=1.0)
    results.measure("random numbers", lambda: results.add(a_table("no")))
    results.measure("random numbers, large", lambda: results.add(a_table("yes")))
    results.started -= 2.0
    results.measure("large and late", lambda: results.add(a_table("no")))
    assert [table.title for table in results.tables] == ["yes"]
    assert results.problems == ["large and late was left out: 1 s were over."]


def test_a_word_that_names_no_part_is_told():
    results = Results(only=("price", "prise"))
    results.measure("price of auto", lambda: None)
    results.measure("eight bits", lambda: None)
    results.tell_of_unknown_words()
    assert results.problems == ["No part is named prise; there are: price of auto, eight bits."]
