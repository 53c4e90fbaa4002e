"""Small calls measure the work that they really do, and find wrong numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from backend_doubles import a_call, add_kernel, not_a_number, right, wrong_in_one_row

from s2flow_core.attention import probe
from s2flow_core.attention.backends import torch_boxes
from s2flow_core.attention.call import AttentionCall
from s2flow_core.attention.fastest import fastest
from s2flow_core.attention.probe import deviation, finish, rate, variant
from s2flow_core.attention.registry import BACKENDS, Backend
from s2flow_core.attention.work import dense_flops, window_flops
from s2flow_core.windows.grid import TokenGrid

GRID = TokenGrid((3, 6, 7), (1, 4, 4))
"""Partial tiles along H and W."""


def calls() -> Iterator[AttentionCall]:
    plain = a_call(GRID, ((1, 1, 2), (3, 2, 2)))
    yield plain
    yield replace(plain, tail=True)
    whole = a_call(TokenGrid((3, 8, 8), (1, 4, 4)), ((1, 1, 2),), dim=128)
    yield whole
    longer = torch.randn(2, 1, whole.grid.tokens + 5, 128)
    masked = torch.zeros(2, longer.shape[2])
    masked[0, -2:] = -torch.inf
    text = replace(whole, q=longer, k=longer, v=longer, prefix=2, suffix=3, key_bias=masked)
    yield text
    video_masked = masked.clone()
    video_masked[1, 4] = -torch.inf
    yield replace(text, key_bias=video_masked, tail=True)


@pytest.mark.parametrize("call", list(calls()), ids=variant)
def test_a_right_kernel_deviates_by_nothing_and_a_wrong_row_shows(monkeypatch, call):
    assert deviation(add_kernel(monkeypatch, right), call) <= 1e-6
    assert deviation(add_kernel(monkeypatch, wrong_in_one_row), call) >= 0.02
    assert not deviation(add_kernel(monkeypatch, not_a_number), call) <= 1.0


@pytest.mark.parametrize("call", list(calls()), ids=variant)
def test_the_checked_call_is_of_the_same_variant(monkeypatch, call):
    seen: list[AttentionCall] = []
    deviation(add_kernel(monkeypatch, lambda given: seen.append(given) or torch_boxes.run(given)), call)
    assert [variant(given) for given in seen] == [variant(call)]
    masked = [False if c.key_bias is None else bool(c.key_bias[:, c.video].any()) for c in (seen[0], call)]
    assert masked[0] == masked[1]
    assert seen[0].q.shape[2] <= 12 * call.grid.tile_tokens + 7


def test_speed_is_the_work_really_done_over_the_best_time(monkeypatch):
    """1,024 tokens in tiles of 1x4x4: 64 tiles, of which a head sees 4x2x2."""
    monkeypatch.setattr(probe, "_seconds", lambda computes, call: 2.0)
    call = a_call(GRID, ((1, 1, 1),))
    dense = 2 * 4 * 64 * 1024**2
    assert rate(BACKENDS["dense"], call) == dense / 2
    assert rate(BACKENDS["torch_boxes"], call) == dense / 4 / 2
    assert rate(BACKENDS["torch_boxes"], replace(call, tail=True)) == (dense / 4 + 2 * 4 * 64 * 1024 * 64) / 2
    partial = replace(call, grid=TokenGrid((3, 6, 7), (1, 3, 4)))  # 16 tokens make six tiles of 3
    padded = Backend("padded", ".backends.torch_boxes", whole_tiles=True)
    assert rate(padded, partial) == 2 * 4 * 64 * (4 * 6 * 4 * 12) * (4 * 3 * 2 * 12) / 2


META = torch.device("meta")
LAUNCH = 1e-3


def probed_sizes(monkeypatch, speed: dict[str, float], free: float = 80e9) -> list[int]:
    """As on a GPU where a launch takes LAUNCH seconds; the tokens of every call that is timed.

    speed: by name, in operations per second.
    """
    tokens: list[int] = []

    def seconds(computes, call: AttentionCall) -> float:
        tokens.append(call.q.shape[2])
        work = dense_flops(call)
        if computes.windows:
            work = window_flops(call, call.extents[0], computes.whole_tiles)
        return LAUNCH + work * len(call.extents) / speed[computes.name]

    monkeypatch.setattr(probe, "_seconds", seconds)
    monkeypatch.setattr(probe, "_free_bytes", lambda device: free)
    return tokens


def on_a_large_gpu(tokens: TokenGrid, extents) -> AttentionCall:
    q = torch.empty(1, len(extents), tokens.tokens, 128, dtype=torch.bfloat16, device=META)
    return AttentionCall(q, q, q, tokens, tuple(extents), 0, 0, None, 0.1, False)


def test_launching_from_python_hides_no_windows_of_a_fast_gpu(monkeypatch):
    """The speeds of an H100, whose dense attention runs at 580 and windows at 500 TFLOP/s: at half of the
    work these are 1.7 times faster."""
    speed = {"dense": 580e12, "triton_windows": 500e12}
    probed_sizes(monkeypatch, speed)
    grid = TokenGrid((30, 96, 160), (2, 8, 8))
    call = on_a_large_gpu(grid, ((15, 8, 15), (10, 10, 15)))
    backend = BACKENDS["triton_windows"]
    rates = {name: rate(BACKENDS[name], call) for name in speed}
    for name, true in speed.items():
        assert rates[name] == pytest.approx(true, rel=0.05)
    chosen = fastest(call, "dense", [backend], rates)
    assert chosen.backend == "triton_windows" and chosen.heads == (0, 1)


def test_a_probe_grows_no_further_than_it_must(monkeypatch):
    call = on_a_large_gpu(GRID, ((1, 1, 1),))
    for speed, free, largest in (
        (10e12, 80e9, 2**14),  # a slow card is measured in the first call
        (100e12, 80e9, 2**15),
        (5e15, 80e9, 2**18),
        (5e15, 1e9, 2**15),  # a quarter of what is free
        (5e15, 0, 2**14),
    ):
        tokens = probed_sizes(monkeypatch, {"dense": speed}, free)
        rate(BACKENDS["dense"], call)
        assert tokens == [2**14 << step for step in range((largest // 2**14).bit_length())]


@pytest.mark.parametrize("failure", [torch.OutOfMemoryError, RuntimeError], ids=["memory", "refused"])
def test_a_probe_that_fails_keeps_what_a_smaller_one_has_found(monkeypatch, failure):
    call = on_a_large_gpu(GRID, ((1, 1, 1),))
    tokens = probed_sizes(monkeypatch, {"dense": 5e15})
    seconds = probe._seconds

    def without_memory(computes, given: AttentionCall) -> float:
        if given.q.shape[2] > largest:
            raise failure
        return seconds(computes, given)

    monkeypatch.setattr(probe, "_seconds", without_memory)
    largest = 2**15
    assert rate(BACKENDS["dense"], call) > 0 and tokens[-1] == largest
    largest = 0
    with pytest.raises(failure):
        rate(BACKENDS["dense"], call)


def test_the_device_of_the_call_is_waited_for(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    finish(torch.device("cuda", 3))
    finish(torch.device("cpu"))
    assert waited == [torch.device("cuda", 3)]
