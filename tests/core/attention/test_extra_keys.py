"""Text and tiles' means join every box, hidden ones without weight."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_attention import tile_of_token
from token_grids import grids

from s2flow_core.attention.call import AttentionCall
from s2flow_core.attention.extra_keys import extra_keys, tile_means
from s2flow_core.windows.grid import TokenGrid


def a_call(grid: TokenGrid, text: tuple[int, int], bias: torch.Tensor | None, tail: bool) -> AttentionCall:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, sum(text) + grid.tokens, 4, generator=generator)
    return AttentionCall(q, k, v, grid, ((1, 1, 1),) * 2, *text, bias, 0.5, tail)


@given(grids, st.integers(0, 2), st.booleans(), st.integers(0, 999))
@settings(max_examples=40)
def test_a_tile_is_its_tokens_mean_with_the_weight_of_their_sum(grid, prefix, masked, seed):
    bias = None
    if masked:
        generator = torch.Generator().manual_seed(seed)
        bias = torch.randn(2, prefix + grid.tokens, generator=generator)
        bias.masked_fill_(torch.rand(bias.shape, generator=generator) > 0.6, -torch.inf)
    call = a_call(grid, (prefix, 0), bias, tail=True)
    keys, values, log_weight = tile_means(call)
    weight = torch.ones(2, grid.tokens) if bias is None else bias[:, call.video].exp()
    tile_of = tile_of_token(grid.shape, grid.tile)
    for tile in range(grid.tile_count):
        own = weight * (tile_of == tile)  # (B, tokens)
        torch.testing.assert_close(log_weight[:, tile], own.sum(dim=1).log(), atol=1e-5, rtol=1e-5)
        share = (own / own.sum(dim=1, keepdim=True)).nan_to_num(0.0)
        for means, x in ((keys, call.k), (values, call.v)):
            expected = torch.einsum("bn,bmnd->bmd", share, x[:, :, call.video])
            torch.testing.assert_close(means[:, :, tile], expected, atol=1e-5, rtol=1e-5)


GRID = TokenGrid((1, 2, 4), (1, 2, 2))


def test_without_text_and_tail_there_is_nothing():
    extra = extra_keys(a_call(GRID, (0, 0), None, tail=False))
    assert (extra.k, extra.v, extra.bias, extra.tail_tiles, extra.video_bias) == (None, None, None, 0, None)


def test_text_comes_first_and_then_the_tiles():
    call = a_call(GRID, (1, 2), None, tail=True)
    extra = extra_keys(call)
    assert extra.k is not None and extra.v is not None and extra.bias is not None
    assert extra.tail_tiles == 2 and extra.k.shape == (2, 2, 3 + 2, 4)
    assert torch.equal(extra.k[:, :, :3], call.k[:, :, [0, 9, 10]])
    assert torch.equal(extra.v[:, :, :3], call.v[:, :, [0, 9, 10]])
    assert torch.equal(extra.k[:, :, 3:], tile_means(call)[0])
    torch.testing.assert_close(
        extra.bias,
        torch.tensor([0.0, 0, 0, 4, 4]).where(torch.arange(5) < 3, torch.tensor(4.0).log()).expand(2, -1),
    )


@pytest.mark.parametrize(
    "hidden", [-torch.inf, torch.finfo(torch.float32).min, torch.finfo(torch.float16).min]
)
def test_padding_that_no_prompt_uses_is_left_out(hidden):
    """Of three text tokens both prompts use the first, one of them the second, none the third."""
    bias = torch.zeros(2, 11)
    bias[:, 10] = hidden
    bias[0, 9] = hidden
    call = a_call(GRID, (0, 3), bias, tail=False)
    extra = extra_keys(call)
    assert extra.k is not None and extra.bias is not None
    assert torch.equal(extra.k, call.k[:, :, [8, 9]])
    assert extra.bias.tolist() == [[0, hidden], [0, 0]]
    assert extra.video_bias is None
    only_padding = torch.zeros(2, 11)
    only_padding[:, 9:] = hidden
    assert extra_keys(a_call(GRID, (0, 3), only_padding, tail=False)).bias is None


def test_a_hidden_key_of_the_video_is_told_to_the_boxes():
    bias = torch.zeros(2, 9)
    bias[1, 3] = -torch.inf
    extra = extra_keys(a_call(GRID, (1, 0), bias, tail=False))
    assert extra.video_bias is bias
    assert extra.bias is not None and (extra.bias == 0).all() and extra.bias.shape == (2, 1)
