"""Feed-forward layers over pieces of tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.nn import Linear

from benchmarks.common.live_memory import LiveMemory
from s2flow_core.feed_forward import chunks_for, cut_forward, hidden_bytes, hidden_width


def layer_of(width: int = 16, hidden: int = 64) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(Linear(width, hidden), nn.GELU(), Linear(hidden, width)).double()


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
        out = cut_forward(layer.forward, chunks)(x)
        assert out.is_contiguous()
        assert torch.allclose(out, layer(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chunks", [1, 4, 16])
def test_pieces_keep_the_hidden_layer_small(chunks: int):
    layer, x = layer_of(), torch.randn(1, 4096, 16, dtype=torch.float64)
    with LiveMemory() as memory, torch.no_grad():
        cut_forward(layer.forward, chunks)(x)
    # The result, and of a piece the hidden layer before and after its activation.
    assert memory.peak == x.nbytes + hidden_bytes(layer, 4096 // chunks, 8)


MANY = 10**6
"""Tokens, so that pieces are large enough."""


@pytest.mark.parametrize(
    ("hidden", "free", "tokens", "chunks"),
    [
        (25, 100, MANY, 1),
        (26, 100, MANY, 2),
        (100, 100, MANY, 4),
        (10**6, 100, MANY, 64),
        (1, 0, MANY, 4),
        (0, 0, MANY, 1),
        (10**6, 100, 80_000, 19),  # weights that come anew for each piece want thousands of tokens
        (10**6, 100, 4095, 1),
    ],
)
def test_a_quarter_of_the_free_memory_may_be_used(hidden: int, free: float, tokens: int, chunks: int):
    assert chunks_for(hidden, free, tokens) == chunks


@pytest.mark.parametrize(("outer", "inner"), [(2, 5), (5, 2), (3, 3), (1, 4)])
def test_what_is_cut_twice_is_cut_into_the_larger_number(outer: int, inner: int):
    sizes: list[int] = []

    def whole(x: torch.Tensor) -> torch.Tensor:
        sizes.append(x.shape[-2])
        return x

    cut_forward(cut_forward(whole, inner), outer)(torch.zeros(1, 60, 4))
    assert sizes == [60 // max(outer, inner)] * max(outer, inner)


def test_a_compiled_model_is_compiled_once_for_all_layers_and_runs():
    torch._dynamo.reset()
    blocks = nn.ModuleList([layer_of() for _ in range(12)])
    wrapped = [Block(layer) for layer in blocks]
    counter = CompileCounter()
    for block in wrapped:
        block.compile(backend=counter)
    x = torch.randn(1, 40, 16, dtype=torch.float64)
    counts = []
    with torch.no_grad():
        for _ in range(3):
            for block in wrapped:
                block.layer.forward = cut_forward(block.layer.forward, 4)
            for block in wrapped:
                block(x)
                del block.layer.forward
            counts.append(counter.frame_count)
    assert counts[0] == counts[-1] <= 2
    torch._dynamo.reset()


class Block(nn.Module):
    """As models call such a layer."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layer(x)


def test_the_hidden_width_is_the_widest_output():
    assert hidden_width(layer_of(16, 64)) == 64
    assert hidden_width(nn.Sequential(Linear(8, 4), Linear(4, 8))) == 8
