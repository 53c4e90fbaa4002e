"""`auto` takes the fastest for every head, never what is slower than dense, and nothing unchecked."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from itertools import cycle, islice, product

import pytest
import torch
from backend_doubles import a_call, a_large_call, add_kernel, in_torch_alone, speeds

from s2flow_core.attention import choice
from s2flow_core.attention.backends import torch_boxes
from s2flow_core.attention.call import AttentionCall, InstalledAttention, VisitedKeys
from s2flow_core.attention.choice import BackendChooser
from s2flow_core.attention.errors import WindowsCannotWin
from s2flow_core.attention.measured_rates import MeasuredRates
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.attention.window_attention import HeadWindows, window_attention
from s2flow_core.windows.grid import TokenGrid

GRID = TokenGrid((2, 8, 8), (1, 2, 2))


def test_auto_counts_small_calls_and_measures_nothing(monkeypatch):
    monkeypatch.setattr(choice, "rate", lambda *_: pytest.fail("measured"))
    chooser = BackendChooser()
    grid = TokenGrid((5, 16, 16), (1, 4, 4))
    assert chooser.choose(a_call(grid, ((5, 4, 2),) * 2, 128)).backend == "torch_boxes"
    assert chooser.choose(a_call(grid, ((5, 4, 4),) * 2, 128)).backend == "dense"
    tiny = TokenGrid((1, 4, 4), (1, 1, 1))
    assert chooser.choose(a_call(tiny, ((1, 2, 2),) * 2, 128)).backend == "dense"


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
    assert BackendChooser().choose(a_large_call(SQUARE, extents, dim)).backend == expected


@pytest.mark.parametrize(
    ("speed", "heads"),
    # A head of 1/4, 1/2 and 3/4 of the work; the calls of torch cost a hundredth of dense attention each.
    [(2e10, (0, 1, 2)), (1e10, (0, 1, 2)), (0.7e10, (0, 1)), (0.5e10, (0,)), (0.2e10, ())],
)
def test_every_head_goes_where_it_is_cheaper(monkeypatch, speed, heads):
    asked = speeds(monkeypatch, dense=1e10, torch_boxes=speed)
    grid = TokenGrid((1, 32, 32), (1, 4, 4))
    extents = ((1, 2, 8), (1, 4, 8), (1, 6, 8), grid.tiles)
    got = BackendChooser().choose(a_large_call(grid, extents, dim=240))
    assert got.heads == heads and got.backend == ("torch_boxes" if heads else "dense")
    assert asked == ["dense", "torch_boxes"]


@pytest.mark.parametrize(("speed", "expected"), [(0.49e12, "dense"), (0.53e12, "torch_boxes")])
def test_what_is_hardly_faster_is_not_taken(monkeypatch, speed, expected):
    """Half of the work must be done at more than half the speed, by three parts in a hundred."""
    speeds(monkeypatch, dense=1e12, torch_boxes=speed)
    grid = TokenGrid((16, 64, 64), (2, 8, 8))
    assert BackendChooser().choose(a_large_call(grid, ((4, 8, 8),) * 2, 128)).backend == expected


def test_a_mixed_call_gives_every_head_its_own_attention(monkeypatch):
    in_torch_alone(monkeypatch)
    speeds(monkeypatch, dense=1e10, torch_boxes=1e14)
    call = a_call(GRID, ((1, 2, 2), GRID.tiles, (2, 1, 4), GRID.tiles), batch=2)
    stats = VisitedKeys()
    out = BackendChooser().compute(replace(call, stats=stats))
    assert torch.allclose(out, torch_boxes.run(call), atol=1e-5)
    assert stats.possible == 2 * 4 * GRID.tokens**2
    assert stats.seen == 2 * (2 + 1 / 8 + 1 / 4) * GRID.tokens**2
    # The dense heads belong to what is installed, and to nobody else.
    seen: list[int] = []

    def attend(q, k, v, key_bias):
        seen.append(q.shape[1])
        return torch.full_like(q, 7.0)

    speeds(monkeypatch, dense=1e10, torch_boxes=1e14, theirs=1e10)
    theirs = BackendChooser().compute(replace(call, installed=InstalledAttention("theirs", attend)))
    assert seen == [1, 1]
    assert (theirs[:, [1, 3]] == 7.0).all() and torch.equal(theirs[:, [0, 2]], out[:, [0, 2]])


def test_an_installed_attention_that_wants_whole_layers_gets_none(monkeypatch, caplog):
    in_torch_alone(monkeypatch)
    speeds(monkeypatch, theirs=1e10, torch_boxes=1e14)
    caplog.set_level("INFO")
    call = a_call(GRID, ((1, 2, 2), GRID.tiles))
    tried = []

    def attend(q, k, v, key_bias):
        tried.append(q.shape[1])
        raise RuntimeError("two heads, please")

    chooser = BackendChooser()
    for _ in range(2):
        out = chooser.compute(replace(call, installed=InstalledAttention("theirs", attend)))
        assert torch.allclose(out, torch_boxes.run(call), atol=1e-5)
    assert tried == [1] and caplog.text.count("two heads, please") == 1


def run_as_installed(q, k, v, key_bias):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v)


@pytest.mark.parametrize(("theirs", "expected"), [(1e9, "torch_boxes"), (1e14, "dense")])
def test_windows_are_measured_against_the_attention_that_is_installed(monkeypatch, theirs, expected):
    asked = speeds(monkeypatch, their_kernel=theirs, torch_boxes=1e12, dense=1e14)
    call = a_large_call(TokenGrid((8, 64, 64), (2, 8, 8)), ((2, 4, 4),) * 2)
    installed = replace(call, installed=InstalledAttention("their kernel", run_as_installed))
    chooser = BackendChooser()
    assert chooser.choose(installed).backend == expected
    assert asked == ["their kernel", "torch_boxes", "installed_boxes"]
    # Another attention is another rival.
    assert chooser.choose(call).backend == "dense"
    assert asked[3:] == ["dense"]


@pytest.mark.parametrize(("installed_bits", "expected"), [(None, False), (16, False), (8, True)])
def test_eight_bits_are_taken_where_the_artist_has_accepted_them(monkeypatch, installed_bits, expected):
    """By name they are always there; `auto` takes them beside an attention of eight bits only."""
    kernel = add_kernel(monkeypatch, torch_boxes.run, eight_bits=True)
    speeds(monkeypatch, dense=1e10, torch_boxes=1e13, doubled=1e15, sage=1e10)
    call = a_call(GRID, ((1, 2, 2), (2, 1, 4)))
    if installed_bits is not None:
        installed = InstalledAttention("sage", lambda q, k, v, bias: q, eight_bits=installed_bits == 8)
        call = replace(call, installed=installed)
    assert BackendChooser().choose(call).backend == (kernel.name if expected else "torch_boxes")
    assert torch.equal(BackendChooser(kernel.name).compute(call), torch_boxes.run(call))


def test_one_run_may_meet_calls_that_ask_for_more_precision(monkeypatch):
    """The same attention by name, once in eight bits and once not."""
    kernel = add_kernel(monkeypatch, torch_boxes.run, eight_bits=True)
    speeds(monkeypatch, torch_boxes=1e13, doubled=1e15, sage=1e10)
    chooser, call = BackendChooser(), a_call(GRID, ((1, 2, 2), (2, 1, 4)))
    for eight_bits in (True, False, True):
        installed = InstalledAttention("sage", lambda q, k, v, bias: q, eight_bits)
        expected = kernel.name if eight_bits else "torch_boxes"
        assert chooser.choose(replace(call, installed=installed)).backend == expected


def test_an_installed_attention_that_cannot_be_measured_keeps_its_calls(monkeypatch, caplog):
    def fails(q, k, v, key_bias):
        raise RuntimeError("only in its own layout")

    monkeypatch.setattr(choice, "_SMALL_CPU_FLOPS", 0.0)
    call = replace(a_call(GRID, ((1, 2, 2),)), installed=InstalledAttention("theirs", fails))
    chooser = BackendChooser()
    assert chooser.choose(call).backend == "dense"
    assert caplog.text.count("only in its own layout") == 1


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


def twenty_kinds() -> list[AttentionCall]:
    """Two sizes of head, with and without tail, five layers of 24 heads each at 115,200 tokens."""
    grid = TokenGrid((30, 48, 80))
    t, h, w = (range(1, count + 1) for count in grid.tiles)
    extents = list(product(t, h, w))
    return [
        a_large_call(grid, tuple(islice(cycle(extents[layer::37]), 24)), dim, tail=tail)
        for dim, tail, layer in product((64, 128), (False, True), range(5))
    ]


def test_choosing_takes_seconds_in_the_first_run_and_nothing_in_the_next_process(tmp_path):
    """50 steps of 20 kinds of call, each decided by measuring; in this thread's own time.

    What the next process takes is its own work alone, so a busy machine is kept out by the least of three.
    """
    calls, path = twenty_kinds(), tmp_path / "speeds.json"
    taken = []
    for _ in range(4):
        start = time.thread_time()
        chooser = BackendChooser("auto", MeasuredRates(path))
        for _, call in product(range(50), calls):
            chooser.choose(call)
        taken.append(time.thread_time() - start)
    assert all(math.prod(call.q.shape) * call.q.shape[2] * 4 > choice._SMALL_CPU_FLOPS for call in calls)
    assert taken[0] <= 2.0 and min(taken[1:]) <= 0.05, taken


def test_one_line_says_what_was_chosen_and_why(monkeypatch, caplog):
    caplog.set_level("INFO")
    speeds(monkeypatch, dense=1e12, torch_boxes=2e12)
    chooser = BackendChooser()
    grid = TokenGrid((8, 64, 64), (2, 8, 8))
    for extent in ((2, 4, 4), (4, 4, 4), (1, 8, 8)):
        chooser.choose(a_large_call(grid, (extent, grid.tiles)))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        "S²Flow attention, 32768 tokens: torch_boxes computes 1 of 2 heads, dense the others (TFLOP/s "
        "measured here: dense 1, torch_boxes 2)."
    )
