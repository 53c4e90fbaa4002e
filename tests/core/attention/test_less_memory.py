"""Windowed attention that lacks memory steps down, with the same numbers."""

from __future__ import annotations

import logging

import pytest
import torch
from failing_allocator import FailingAllocator

from s2flow_core.attention.call import VisitedKeys
from s2flow_core.attention.choice import BackendChooser
from s2flow_core.attention.errors import WindowsNotApplicable
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.attention.window_attention import HeadWindows, window_attention
from s2flow_core.windows.grid import TokenGrid

GRID = TokenGrid((4, 8, 8), (2, 4, 4))
HEADS = 6


def inputs(text: int = 5):
    generator = torch.Generator().manual_seed(1)
    q, k, v = torch.randn(3, 1, HEADS, GRID.tokens + text, 32, generator=generator)
    extents = torch.tensor([(1, 1, 2), (2, 2, 1), (1, 2, 2), (2, 1, 1), (1, 1, 1), (2, 2, 2)])
    return q, k, v, VideoSequence(GRID, 0, text), HeadWindows(extents, tail=True)


GIVEN = inputs()


def attend(chooser, stats=None):
    q, k, v, sequence, windows = GIVEN
    return window_attention(q, k, v, sequence, windows, backend=chooser, stats=stats)


@pytest.fixture(scope="module")
def whole():
    stats = VisitedKeys()
    return attend(BackendChooser("torch_boxes"), stats), stats


@pytest.mark.parametrize("nth", [1, 2, 3, 5, 8, 13, 21, 34])
def test_the_nth_large_request_that_fails_changes_no_number(nth, whole, caplog):
    chooser, stats = BackendChooser("torch_boxes"), VisitedKeys()
    with FailingAllocator(large=4096, nth=nth) as memory:
        out = attend(chooser, stats)
    assert torch.allclose(out, whole[0], atol=1e-6)
    assert (stats.seen, stats.possible) == (whole[1].seen, whole[1].possible)  # nothing counted twice
    assert chooser.memory_steps == memory.failures
    assert caplog.text.count("ran out of memory") == memory.failures


def test_the_next_layer_begins_where_this_one_ended(caplog):
    """Overlapping windows copy each key 2.25 times: too much for six or three heads at once, not for two."""
    grid = TokenGrid((4, 16, 16), (2, 4, 4))
    generator = torch.Generator().manual_seed(2)
    q, k, v = torch.randn(3, 1, HEADS, grid.tokens, 32, generator=generator)
    given = (q, k, v, VideoSequence(grid), HeadWindows(torch.tensor([(2, 3, 3)] * HEADS)))
    plain = window_attention(*given, backend="torch_boxes")
    chooser = BackendChooser("torch_boxes")
    with FailingAllocator(large=0, limit=q.numel() * q.element_size()) as memory:
        for _ in range(3):
            assert torch.allclose(window_attention(*given, backend=chooser), plain, atol=1e-6)
    assert memory.failures == chooser.memory_steps == 2
    assert "2 head(s) at a time" in caplog.text
    assert caplog.text.count("ran out of memory") == 2


def test_where_no_way_is_small_enough_the_call_is_left_to_the_attention_below():
    with FailingAllocator(large=0, limit=1000), pytest.raises(WindowsNotApplicable, match="not even for one"):
        attend(BackendChooser("torch_boxes"))


def test_other_errors_are_no_matter_of_memory(monkeypatch):
    from s2flow_core.attention.backends import torch_boxes

    def broken(call):
        raise ValueError("broken")

    monkeypatch.setattr(torch_boxes, "run", broken)
    with pytest.raises(ValueError, match="broken"):
        attend(BackendChooser("torch_boxes"))


def test_the_next_backend_is_taken_when_one_head_is_too_much(monkeypatch, whole, caplog):
    """On the CPU there is one windowed backend; a second one stands in for what a GPU has."""
    from dataclasses import replace

    from s2flow_core.attention import registry

    def greedy(call):
        raise torch.OutOfMemoryError("CUDA out of memory")

    other = replace(registry.BACKENDS["torch_boxes"], name="greedy")
    monkeypatch.setitem(registry.BACKENDS, "greedy", other)
    monkeypatch.setattr(
        registry.Backend,
        "run",
        lambda self, call: greedy(call) if self.name == "greedy" else boxes.run(call),
    )
    from s2flow_core.attention.backends import torch_boxes as boxes

    with caplog.at_level(logging.WARNING):
        out = attend(BackendChooser("greedy"))
    assert torch.allclose(out, whole[0], atol=1e-6)
    assert "by 'torch_boxes'" in caplog.text
