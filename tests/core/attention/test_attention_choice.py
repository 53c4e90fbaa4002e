"""`auto` takes the fastest backend that can compute a call, never one slower than dense, and asks once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from s2flow_core.attention import choice
from s2flow_core.attention.call import AttentionCall, InstalledAttention, VisitedKeys
from s2flow_core.attention.choice import choose_backend, measured_choices
from s2flow_core.attention.errors import WindowsCannotWin
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.attention.window_attention import HeadWindows, window_attention
from s2flow_core.windows.grid import TokenGrid


def a_call(grid: TokenGrid, extent, heads: int = 2, dim: int = 128) -> AttentionCall:
    q = torch.randn(1, heads, grid.tokens, dim)
    return AttentionCall(q, q, q, grid, (extent,) * heads, 0, 0, None, dim**-0.5, False)


def test_auto_counts_small_calls_and_remembers_nothing():
    grid = TokenGrid((5, 16, 16), (1, 4, 4))
    before = measured_choices()
    assert choose_backend(a_call(grid, (5, 4, 2))).backend == "torch_boxes"
    assert choose_backend(a_call(grid, (5, 4, 4))).backend == "dense"
    tiny = TokenGrid((1, 4, 4), (1, 1, 1))
    assert choose_backend(a_call(tiny, (1, 2, 2))).backend == "dense"
    assert measured_choices() == before


SQUARE = TokenGrid((1, 16, 16), (1, 4, 4))
"""Dense: 4·256² = 262,144 operations per channel and head."""


@pytest.mark.parametrize(
    ("extents", "dim", "expected"),
    [
        # A quarter of the keys in 4 calls: 196,608 operations saved per channel. The calls cost 4e7, which is
        # 203.5 channels.
        (((1, 2, 2),), 192, "dense"),
        (((1, 2, 2),), 216, "torch_boxes"),
        # The same over two heads in 5 calls: 5e7 is 127.2 channels of both.
        (((1, 2, 2), (1, 1, 4)), 120, "dense"),
        (((1, 2, 2), (1, 1, 4)), 136, "torch_boxes"),
    ],
)
def test_a_call_costs_as_much_as_ten_million_operations(extents, dim, expected):
    q = torch.empty(1, len(extents), SQUARE.tokens, dim)
    call = AttentionCall(q, q, q, SQUARE, extents, 0, 0, None, dim**-0.5, False)
    assert choose_backend(call).backend == expected


@pytest.mark.parametrize(
    ("windows_take", "expected"),
    [(0.5, "torch_boxes"), (0.96, "torch_boxes"), (0.98, "dense"), (0.99, "dense"), (2.0, "dense")],
)
def test_auto_measures_large_calls_once_and_never_takes_what_is_slower_than_dense(
    monkeypatch, windows_take, expected
):
    timed = []

    def seconds(backend, call):
        timed.append(backend.name)
        return 1.0 if backend.name == "dense" else windows_take

    monkeypatch.setattr(choice, "_measured", {})
    monkeypatch.setattr(choice, "_SMALL_CPU_FLOPS", 0.0)
    monkeypatch.setattr(choice, "_seconds", seconds)
    grid = TokenGrid((2, 8, 8), (1, 2, 2))
    for _ in range(3):
        assert choose_backend(a_call(grid, (1, 2, 2))).backend == expected
    assert sorted(timed) == ["dense", "torch_boxes"]
    assert len(measured_choices()) == 1


def test_a_backend_that_fails_while_it_is_measured_is_left_out(monkeypatch, caplog):
    real = choice._seconds

    def seconds(backend, call):
        if backend.name == "torch_boxes":
            raise RuntimeError("no such kernel")
        return real(backend, call)

    monkeypatch.setattr(choice, "_measured", {})
    monkeypatch.setattr(choice, "_SMALL_CPU_FLOPS", 0.0)
    monkeypatch.setattr(choice, "_seconds", seconds)
    assert choose_backend(a_call(TokenGrid((2, 8, 8), (1, 2, 2)), (1, 2, 2))).backend == "dense"
    assert "no such kernel" in caplog.text


def test_measuring_takes_one_head_and_counts_nothing(monkeypatch):
    monkeypatch.setattr(choice, "_measured", {})
    monkeypatch.setattr(choice, "_SMALL_CPU_FLOPS", 0.0)
    seen = []
    monkeypatch.setattr(choice, "_seconds", lambda backend, call: seen.append(call) or 1.0)
    grid = TokenGrid((2, 8, 8), (1, 2, 2))
    call = a_call(grid, (1, 2, 2), heads=4)
    choose_backend(AttentionCall(**{**call.__dict__, "stats": VisitedKeys()}))
    assert all(c.q.shape[:2] == (1, 1) and len(c.extents) == 1 and c.stats is None for c in seen)


def run_as_installed(q, k, v, key_bias):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v)


@pytest.mark.parametrize(("installed_takes", "expected"), [(2.0, "torch_boxes"), (0.5, "dense")])
def test_windows_are_measured_against_the_attention_that_is_installed(monkeypatch, installed_takes, expected):
    timed = []

    def seconds(computes, call):
        timed.append(computes.name)
        return installed_takes if computes.name == "a pack's kernel" else 1.0

    monkeypatch.setattr(choice, "_measured", {})
    monkeypatch.setattr(choice, "_SMALL_CPU_FLOPS", 0.0)
    monkeypatch.setattr(choice, "_seconds", seconds)
    call = a_call(TokenGrid((2, 8, 8), (1, 2, 2)), (1, 2, 2))
    theirs = replace(call, installed=InstalledAttention("a pack's kernel", run_as_installed))
    assert choose_backend(theirs).backend == expected
    assert sorted(timed) == ["a pack's kernel", "torch_boxes"]
    # Another attention is another rival.
    monkeypatch.setattr(choice, "_seconds", lambda computes, call: timed.append(computes.name) or 1.0)
    assert choose_backend(call).backend == "dense"
    assert timed[-2:] == ["dense", "torch_boxes"]


def test_an_installed_attention_that_fails_in_the_test_keeps_its_calls(monkeypatch, caplog):
    def fails(q, k, v, key_bias):
        raise RuntimeError("only in its own layout")

    monkeypatch.setattr(choice, "_measured", {})
    monkeypatch.setattr(choice, "_SMALL_CPU_FLOPS", 0.0)
    call = a_call(TokenGrid((2, 8, 8), (1, 2, 2)), (1, 2, 2))
    assert choose_backend(replace(call, installed=InstalledAttention("theirs", fails))).backend == "dense"
    assert "only in its own layout" in caplog.text


def test_a_call_that_windows_cannot_win_goes_back_to_the_installed_attention():
    grid = TokenGrid((5, 16, 16), (1, 4, 4))
    installed = InstalledAttention("theirs", run_as_installed)
    q, k, v = (torch.randn(1, 2, grid.tokens, 64) for _ in range(3))
    whole, half = (torch.tensor([extent] * 2) for extent in ((5, 4, 4), (5, 4, 2)))
    stats = VisitedKeys()
    with pytest.raises(WindowsCannotWin, match="Every window is the whole video"):
        window_attention(q, k, v, VideoSequence(grid), HeadWindows(whole), installed=installed, stats=stats)
    assert stats.possible == 0
    # Without it, and where windows win, the core computes the call.
    assert window_attention(q, k, v, VideoSequence(grid), HeadWindows(whole)).shape == q.shape
    assert (
        window_attention(q, k, v, VideoSequence(grid), HeadWindows(half), installed=installed).shape
        == q.shape
    )
    # Dense by hand is torch's own attention, whatever is installed.
    by_hand = window_attention(
        q, k, v, VideoSequence(grid), HeadWindows(half), installed=installed, backend="dense"
    )
    assert torch.equal(by_hand, window_attention(q, k, v, VideoSequence(grid), HeadWindows(whole)))
