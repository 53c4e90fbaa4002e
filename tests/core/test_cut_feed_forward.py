"""Feed-forward layers over pieces of tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.common.live_memory import LiveMemory
from s2flow_core.feed_forward import CutForward, chunks_for, hidden_bytes, hidden_width


def layer_of(width: int = 16, hidden: int = 64) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)).double()


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 3), max_size=2),
    tokens=st.integers(1, 40),
    chunks=st.integers(1, 64),
    turned=st.booleans(),
)
def test_pieces_give_what_the_whole_gives(shape: list[int], tokens: int, chunks: int, turned: bool):
    layer = layer_of()
    x = torch.randn(*shape, tokens, 16, dtype=torch.float64)
    if turned:  # not contiguous
        x = x.mT.contiguous().mT
    with torch.no_grad():
        out = CutForward(layer.forward, chunks)(x)
        assert out.is_contiguous()
        assert torch.allclose(out, layer(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chunks", [1, 4, 16])
def test_pieces_keep_the_hidden_layer_small(chunks: int):
    layer, x = layer_of(), torch.randn(1, 4096, 16, dtype=torch.float64)
    with LiveMemory() as memory, torch.no_grad():
        CutForward(layer.forward, chunks)(x)
    # The result, and of a piece the hidden layer before and after its activation.
    assert memory.peak == x.nbytes + hidden_bytes(layer, 4096 // chunks, 8)


@pytest.mark.parametrize(
    ("hidden", "free", "chunks"),
    [(25, 100, 1), (26, 100, 2), (100, 100, 4), (10**6, 100, 64), (1, 0, 4), (10**9, 0, 64), (0, 0, 1)],
)
def test_a_quarter_of_the_free_memory_may_be_used(hidden: int, free: float, chunks: int):
    assert chunks_for(hidden, free) == chunks


def test_the_hidden_width_is_the_widest_output():
    assert hidden_width(layer_of(16, 64)) == 64
    assert hidden_width(nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 8))) == 8
