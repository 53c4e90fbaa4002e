"""A call knows its video, its text and its heads; attention over it gives zeros, never NaN."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s2flow_core.attention.call import (
    AttentionCall,
    InstalledAttention,
    VisitedKeys,
    attend,
    attend_text,
    head_runs,
)
from s2flow_core.windows.grid import TokenGrid

GRID = TokenGrid((1, 2, 3), (1, 1, 1))


def a_call(
    prefix: int = 0, suffix: int = 0, heads: int = 2, bias: torch.Tensor | None = None
) -> AttentionCall:
    generator = torch.Generator().manual_seed(0)
    tokens = prefix + GRID.tokens + suffix
    q, k, v = torch.randn(3, 1, heads, tokens, 8, generator=generator)
    return AttentionCall(q, k, v, GRID, ((1, 1, 1),) * heads, prefix, suffix, bias, 0.5, False)


@pytest.mark.parametrize(
    ("prefix", "suffix", "text"),
    [(0, 0, ()), (2, 0, (slice(0, 2),)), (0, 3, (slice(6, 9),)), (2, 3, (slice(0, 2), slice(8, 11)))],
)
def test_text_is_what_lies_around_the_video(prefix, suffix, text):
    call = a_call(prefix, suffix)
    assert call.video == slice(prefix, prefix + 6)
    assert call.text == text


def test_heads_of_one_window_are_together_in_their_order():
    call = a_call(heads=5)
    wide, deep = (1, 1, 3), (1, 2, 1)
    mixed = AttentionCall(**{**call.__dict__, "extents": (wide, deep, wide, wide, deep)})
    assert mixed.heads_by_extent() == {wide: [0, 2, 3], deep: [1, 4]}


@given(st.sets(st.integers(0, 30)).map(sorted))
def test_head_runs_are_the_same_heads_in_the_fewest_slices(heads: list[int]):
    runs = head_runs(heads)
    assert [head for run in runs for head in range(run.start, run.stop)] == heads
    assert all(after.start > before.stop for before, after in pairwise(runs))


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.integers(1, 9), st.integers(0, 999))
@settings(max_examples=40)
def test_attend_is_softmax_with_the_bias_of_each_key_and_zeros_for_the_blind(
    batch, heads, asking, keys, seed
):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(batch, heads, asking, 8, generator=generator)
    k, v = torch.randn(2, batch, heads, keys, 8, generator=generator)
    bias = torch.randn(batch, 1, keys, generator=generator)
    bias.masked_fill_(torch.rand(bias.shape, generator=generator) > 0.5, -torch.inf)
    logits = 0.3 * q.double() @ k.double().transpose(-1, -2)
    for given_bias, added in ((None, 0.0), (bias, bias[:, :, None].double())):
        expected = (logits + added).softmax(dim=-1).nan_to_num(0.0) @ v.double()
        torch.testing.assert_close(attend(q, k, v, given_bias, 0.3).double(), expected, atol=1e-5, rtol=1e-5)


def test_queries_outside_the_video_see_every_key_and_the_video_is_left_alone():
    bias = torch.zeros(1, 11)
    bias[:, 4] = -torch.inf
    call = a_call(prefix=2, suffix=3, bias=bias)
    out = torch.full_like(call.q, 7.0)
    attend_text(call, out)
    assert (out[:, :, call.video] == 7).all()
    seen = [key for key in range(11) if key != 4]
    for text in call.text:
        expected = attend(call.q[:, :, text], call.k[:, :, seen], call.v[:, :, seen], None, 0.5)
        torch.testing.assert_close(out[:, :, text], expected)


def test_an_installed_attention_is_given_the_call_as_it_is():
    call = a_call(bias=torch.zeros(1, 6))
    given_arguments = []
    installed = InstalledAttention("theirs", lambda *given: given_arguments.append(given) or call.v)
    assert installed.run(call) is call.v
    assert all(got is own for got, own in zip(given_arguments[0], (call.q, call.k, call.v, call.key_bias)))


def test_the_density_of_visited_keys_is_their_share():
    visited = VisitedKeys()
    assert visited.density == 0
    visited.add_dense(batch=2, heads=3, tokens=10)
    assert (visited.seen, visited.possible, visited.density) == (600, 600, 1)
    visited.possible += 600
    assert visited.density == 0.5
