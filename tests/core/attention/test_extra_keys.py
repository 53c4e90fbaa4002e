"""Text and tiles' means join every box, hidden ones without weight."""

from __future__ import annotations

import pytest
import torch

from s2flow_core.attention.call import AttentionCall
from s2flow_core.attention.extra_keys import extra_keys
from s2flow_core.attention.tile_means import torch_tile_means
from s2flow_core.windows.grid import TokenGrid


def a_call(grid: TokenGrid, text: tuple[int, int], bias: torch.Tensor | None, tail: bool) -> AttentionCall:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, sum(text) + grid.tokens, 4, generator=generator)
    return AttentionCall(q, k, v, grid, ((1, 1, 1),) * 2, *text, bias, 0.5, tail)


GRID = TokenGrid((1, 2, 4), (1, 2, 2))


def test_without_text_and_tail_there_is_nothing():
    extra = extra_keys(a_call(GRID, (0, 0), None, tail=False))
    assert (extra.k, extra.v, extra.bias, extra.video_bias) == (None, None, None, None)
    assert extra.text == extra.tail_tiles == 0


def test_text_comes_first_and_then_the_tiles():
    call = a_call(GRID, (1, 2), None, tail=True)
    extra = extra_keys(call)
    assert extra.k is not None and extra.v is not None and extra.bias is not None
    assert extra.tail_tiles == 2 and extra.k.shape == (2, 2, 3 + 2, 4)
    assert torch.equal(extra.k[:, :, :3], call.k[:, :, [0, 9, 10]])
    assert torch.equal(extra.v[:, :, :3], call.v[:, :, [0, 9, 10]])
    keys, values = torch.empty(2, 2, 2, 2, 4)
    torch_tile_means(call, keys, values)
    assert torch.equal(extra.k[:, :, 3:], keys) and torch.equal(extra.v[:, :, 3:], values)
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


@pytest.mark.parametrize(("tail", "masked"), [(False, False), (True, False), (True, True)])
def test_padding_to_a_multiple_is_hidden_and_changes_nothing_else(tail, masked):
    bias = None
    if masked:
        bias = torch.zeros(2, 11)
        bias[0, 9] = -torch.inf
    call = a_call(GRID, (1, 2), bias, tail)
    plain, padded = extra_keys(call), extra_keys(call, multiple=16)
    assert plain.k is not None and plain.v is not None
    assert padded.k is not None and padded.v is not None and padded.bias is not None
    count = plain.k.shape[2]
    assert padded.k.shape[2] == padded.v.shape[2] == padded.bias.shape[1] == 16
    assert torch.equal(padded.k[:, :, :count], plain.k) and (padded.k[:, :, count:] == 0).all()
    assert torch.equal(padded.v[:, :, :count], plain.v) and (padded.v[:, :, count:] == 0).all()
    shown = torch.zeros(2, count) if plain.bias is None else plain.bias
    assert torch.equal(padded.bias[:, :count], shown) and (padded.bias[:, count:] == -torch.inf).all()
    exact = extra_keys(call, multiple=count)
    assert exact.k is not None and exact.k.shape[2] == count
